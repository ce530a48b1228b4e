"""The real Detoxify package on the toy world's checkpoint: right numbers, and its traps closed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from detox_ray.score.detoxify_scorer import DetoxifyScorer

pytestmark = pytest.mark.integration

TEXTS = ["Leo is a liar.", "", " ", "Anna ist nett. " * 900, "先生は怠け者です。", "المعلم كسول", "Leo"]


@pytest.fixture(scope="module")
def folder(toy_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, elsewhere than where the checkpoint says its config is."""
    copy = tmp_path_factory.mktemp("classifier") / "moved"
    shutil.copytree(toy_world / "classifier", copy)
    return copy


def checkpoint_in(folder: Path) -> Path:
    (file,) = folder.glob("*.ckpt")
    return file


@pytest.fixture(scope="module")
def scorer(folder: Path) -> DetoxifyScorer:
    return DetoxifyScorer("classifier", checkpoint_in(folder), folder, batch_tokens=64)


def changed(folder: Path, to: Path, change: Any) -> Path:
    """A checkpoint with its content changed in place."""
    import torch

    loaded = torch.load(checkpoint_in(folder), weights_only=True)
    change(loaded)
    torch.save(loaded, to)
    return to


def test_scores_are_the_classifiers_probabilities(scorer: DetoxifyScorer, folder: Path) -> None:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizer

    loaded = torch.load(checkpoint_in(folder), weights_only=True)
    model = XLMRobertaForSequenceClassification(XLMRobertaConfig.from_pretrained(folder)).eval()
    model.load_state_dict(loaded["state_dict"])
    tokenizer = XLMRobertaTokenizer.from_pretrained(folder)
    for text, scores in zip(TEXTS, scorer.score(TEXTS, "en"), strict=True):
        assert isinstance(scores, dict)
        inputs = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).logits.sigmoid()[0].tolist()
        assert list(scores) == loaded["config"]["dataset"]["args"]["classes"]
        assert list(scores.values()) == pytest.approx(expected, abs=1e-5)


def test_list_of_one_and_of_none(scorer: DetoxifyScorer) -> None:
    (alone,) = scorer.score(["Leo"], "en")
    assert alone == pytest.approx(scorer.score(TEXTS, "en")[-1], abs=1e-5)
    assert scorer.score([], "en") == []


def test_scores_are_those_of_detoxify_predict(scorer: DetoxifyScorer) -> None:
    ours = scorer.score(TEXTS, "en")
    for text, scores in zip(TEXTS, ours, strict=True):
        assert scores == pytest.approx(scorer._model.predict(text), abs=1e-4)
    assert scorer.notes == {"dtype": "float32", "truncated_texts": 1}


def test_weights_under_other_names_are_refused_and_not_left_random(folder: Path, tmp_path: Path) -> None:
    def prefix(loaded: Any) -> None:
        loaded["state_dict"] = {f"model.{name}": value for name, value in loaded["state_dict"].items()}

    with pytest.raises(ValueError, match="which would be random"):
        DetoxifyScorer("x", changed(folder, tmp_path / "prefixed.ckpt", prefix), folder, 8)


def test_checkpoint_of_another_format_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in Detoxify's format"):
        DetoxifyScorer("x", changed(folder, tmp_path / "bare.ckpt", lambda loaded: loaded.pop("config")), folder, 8)


class Bomb:
    def __reduce__(self) -> Any:
        return (json.loads, ('"boom"',))


def test_checkpoint_that_runs_code_is_refused(folder: Path, tmp_path: Path) -> None:
    path = changed(folder, tmp_path / "bomb.ckpt", lambda loaded: loaded.update(extra=Bomb()))
    with pytest.raises(ValueError, match="weights only"):
        DetoxifyScorer("x", path, folder, 8)
