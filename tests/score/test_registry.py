"""Which scorers there are, what is wrong with those that are not, and when their keys change."""

import json
from pathlib import Path

import pytest

from detox_ray.config import ScoreConfig
from detox_ray.score import KNOWN, check, resolve
from detox_ray.store import Store


def config(*scorers: object) -> ScoreConfig:
    return ScoreConfig.model_validate({"scorers": list(scorers)})


def own(path: Path, **changes: object) -> dict[str, object]:
    return {"name": "mine", "type": "lexicon", "path": str(path), **changes}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.yaml"
    path.write_text("en: [liar]\nfr: [menteur]\n", encoding="utf-8")
    return path


def test_known_names_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "a-key")
    assert check(config(*KNOWN)) == []


def test_unknown_name_lists_the_known() -> None:
    (problem,) = check(config("detoxify-orignal"))
    assert problem.field == "score.scorers.0"
    assert all(name in problem.rule for name in KNOWN)


def test_every_problem_is_reported(tmp_path: Path, words: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"")
    problems = check(
        config(
            "nobody",
            own(tmp_path / "missing.json"),
            own(checkpoint, name="classifier", type="detoxify", huggingface_config=str(tmp_path)),
            own(words, name="fine"),
        )
    )
    assert [problem.field for problem in problems] == [
        "score.scorers.0",
        "score.scorers.1.path",
        "score.scorers.2.huggingface_config",
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("- liar\n", "mapping"),
        ("xx: [liar]\n", "unknown language 'xx'"),
        ("en: liar\n", "en: must be a list of words"),
        ("en: ['...']\n", "en: must be a list of words"),
        ("en: [liar\n", "cannot be read"),
    ],
)
def test_bad_lexicon_says_its_rule(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")
    (problem,) = check(config(own(path)))
    assert rule in problem.rule


def test_multilingual_detoxify_has_evidence_for_its_own_languages_only(store: Store) -> None:
    scorer = resolve("detoxify-multilingual", None, store, {})
    assert set(scorer.languages or ()) == set(["en", "fr", "es", "it", "pt", "tr", "ru"])
    assert resolve("detoxify-unbiased", None, store, {}).languages == ("en",)
    assert "detoxify 0." in scorer.revision


def test_own_lexicon_goes_into_the_run_and_its_key_follows_its_content(store: Store, words: Path) -> None:
    (entry,) = config(own(words)).scorers
    first = resolve(entry, None, store, {})
    assert first.languages == ("en", "fr")
    assert json.loads(store.read_bytes("scorers/mine/lexicon.json")) == {"en": ["liar"], "fr": ["menteur"]}
    assert resolve(entry, None, store, {}) == first
    words.write_text("en: [liar, cheat]\n", encoding="utf-8")
    second = resolve(entry, None, store, {})
    assert second.key != first.key and second.languages == ("en",)
    assert json.loads(store.read_bytes("scorers/mine/lexicon.json")) == {"en": ["liar", "cheat"]}


def test_languages_of_a_scorer_are_part_of_its_key(store: Store, words: Path) -> None:
    (all_of_them,) = config(own(words)).scorers
    (only_english,) = config(own(words, languages=["en"])).scorers
    assert resolve(all_of_them, None, store, {}).key != resolve(only_english, None, store, {}).key
