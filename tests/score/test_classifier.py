"""Any text-classification model: which label is toxicity, what its values are, what is refused, what it survives."""

import random
from pathlib import Path
from typing import Any

import pytest
from tiny_classifier import write_classifier

from detox_ray.config import InputError
from detox_ray.models import LoadableModel
from detox_ray.score.classifier_scorer import ClassifierScorer
from detox_ray.score.variants.classifier import ClassifierConfig
from detox_ray.storage import Store


def scorer(path: Path, **settings: Any) -> ClassifierScorer:
    config = ClassifierConfig.model_validate({"name": "tiny", "type": "classifier", "path": str(path), **settings})
    model = LoadableModel("tiny", str(path), False, None, "auto", "k")
    resolved = config.resolved("r")._replace(model=model)
    loaded = config.load(resolved, Store.at(str(path.parent / "run")), 512)
    assert isinstance(loaded, ClassifierScorer)
    return loaded


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [(["neutral", "toxic"], None), (["toxic", "insult", "threat"], "multi_label_classification")],
)
def test_values_are_those_of_a_naive_loop(tmp_path: Path, labels: list[str], problem_type: str | None) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = write_classifier(tmp_path / "model", labels, problem_type)
    texts = ["Leo is a liar.", "kind", "先生は親切", "leo is kind. " * 40]
    ours = scorer(folder)
    results = ours.score(texts, "en")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, result in zip(texts, results, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        expected = logits.sigmoid() if problem_type else logits.softmax(-1)
        assert isinstance(result, dict)
        assert result["toxicity"] == pytest.approx(float(expected[labels.index("toxic")]), abs=1e-5)
    assert ours.attributes == (("toxicity", "insult", "threat") if problem_type else ("toxicity",))
    assert ours.notes["truncated_texts"] == 1


def test_model_without_its_classification_head_is_refused_and_not_left_random(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = write_classifier(tmp_path / "model", ["neutral", "toxic"], None)
    body = AutoModelForSequenceClassification.from_pretrained(folder).roberta
    body.save_pretrained(tmp_path / "body")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "body")
    with pytest.raises(InputError, match="which would be random"):
        scorer(tmp_path / "body")


def adversarial(rng: random.Random, count: int) -> list[str]:
    """Control characters, long lines, mixed scripts, emoji, markup, zero-width and bidirectional characters."""
    pieces = [
        *map(chr, range(32)),
        *"\u200b\u200d\u200e\u202e\u2066\ufeff\ufffd\u2028\u0301\x7f\x85",
        "<script>alert(1)</script>",
        "&lt;b&gt;",
        "👩\u200d👩\u200d👧",
        "🏴\U000e0067\U000e007f",
        "先生",
        "कवि",
        "العربية",
        "лжец",
        "liar",
        "\U0010ffff",
        "<pad>",
        "</s>",
    ]
    texts = ["".join(rng.choices(pieces, k=rng.randint(0, 60))) for _ in range(count)]
    return [*texts, "x" * 100_000, "\u200b" * 100_000, "a b " * 25_000, "\n" * 100_000, "\u0301" * 100_000, ""]


def test_adversarial_texts_get_a_score_each(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", ["neutral", "toxic"], None)
    texts = adversarial(random.Random(0), 500)
    results = scorer(folder).score(texts, "en")
    assert len(results) == len(texts)
    assert all(isinstance(result, dict) and 0 <= result["toxicity"] <= 1 for result in results)


@pytest.mark.integration
def test_int8_agrees_with_torch_and_says_how_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detox_ray.score import onnx_int8

    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    folder = write_classifier(tmp_path / "model", ["neutral", "toxic"], None)
    int8 = scorer(folder, runtime="onnx-int8")
    assert int8.notes["dtype"] == "int8"
    assert 0 < int8.notes["agreement"]["mean"] <= int8.notes["agreement"]["largest"] <= onnx_int8.MOST_AT_ONE
    texts = ["leo is a liar", "kind", "leo is kind. " * 40, *["a"] * 30]
    ours = [each["toxicity"] for each in int8.score(texts, "en") if isinstance(each, dict)]
    torch = [each["toxicity"] for each in scorer(folder).score(texts, "en") if isinstance(each, dict)]
    assert ours == pytest.approx(torch, abs=onnx_int8.MOST_AT_ONE) and ours != torch
    monkeypatch.setattr(onnx_int8, "_export", None)  # the file is there: not exported again
    monkeypatch.setattr(onnx_int8, "MOST_AT_ONE", 0.0)
    with pytest.raises(InputError, match="use runtime torch"):
        scorer(folder, runtime="onnx-int8")
