"""A run reads its data once: what it checked before it began is what it commits."""

import json
from pathlib import Path

import pytest

from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError
from detox_ray.config.loading import validate
from detox_ray.run import pipeline
from detox_ray.storage import Store
from detox_ray.storage.tables import PROMPTS


def test_a_file_that_goes_after_the_check_is_committed_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, words = tmp_path / "model", tmp_path / "words.json"  # only looked at, for no stage begins
    model.mkdir()
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / file).write_text("{}")
    words.write_text(json.dumps({"en": ["bad"]}))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"text": "The cat"}), encoding="utf-8")
    experiment = validate(
        {
            "name": "once",
            "storage": str(tmp_path / "runs"),
            "languages": ["en"],
            "data": {"prompts": {"source": "file", "path": str(prompts)}},
            "models": {"base": {"path": str(model)}},
            "score": {"scorers": [{"name": "s", "type": "lexicon", "path": str(words)}]},
        }
    )
    monkeypatch.setattr(Store, "tidy", lambda store: prompts.unlink())  # the first thing a run does after its checks
    with pytest.raises(ConfigError, match="run `detox-ray generate CONFIG` first"):
        pipeline.run(experiment, "measure", Progress())
    store = Store.at(experiment.folder)
    ((unit, key),) = store.committed(PROMPTS).items()
    assert store.read(unit, key)["text"].to_pylist() == ["The cat"]
