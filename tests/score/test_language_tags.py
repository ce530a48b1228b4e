"""The languages that scorers' files name, however they are written."""

from pathlib import Path

import pytest

from detox_ray.score import load, resolve
from detox_ray.score.variants.lexicon import LexiconConfig, read_lexicon
from detox_ray.score.variants.stored import StoredConfig
from detox_ray.storage import Store


def test_how_stored_scores_are_read_is_in_their_key_and_is_noted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,language,toxicity\nrude,PT-br,0.75\n", encoding="utf-8")
    entry = StoredConfig(name="mine", type="stored", path=str(path))
    resolved = resolve(entry, None, store)
    assert resolved.languages == ("pt",)
    assert resolved.notes == (f"{path}: language tags read: 'PT-br' (1) as pt",)
    assert load(resolved, store, 512).score(["rude"], "pt") == [{"toxicity": 0.75}]
    monkeypatch.setattr(StoredConfig, "version", StoredConfig.version + 1)
    assert resolve(entry, None, store).key != resolved.key


def test_a_lexicons_languages_are_read_as_tags_and_two_of_one_language_are_one(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("EN: [liar]\npt-BR: [bobo]\npt-PT: [parvo]\n", encoding="utf-8")
    assert read_lexicon(path) == {"en": ["liar"], "pt": ["bobo", "parvo"]}
    resolved = resolve(LexiconConfig(name="mine", type="lexicon", path=str(path)), None, store)
    assert resolved.languages == ("en", "pt")
    assert load(resolved, store, 512).score(["seu parvo"], "pt") == [{"toxicity": 1.0}]
