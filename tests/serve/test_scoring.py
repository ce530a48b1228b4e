"""Live scoring: a run's statuses, each text of a batch scored once, derived scorers from their members."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from detox_ray.config import ScoreConfig, ScoringConfig
from detox_ray.score import ResolvedScorer, resolve
from detox_ray.score.scorers import Failure, Scores, ServiceDown
from detox_ray.serve.workers import scoring
from detox_ray.serve.workers.scoring import (
    DetectedLanguage,
    Judgement,
    ScoreQuery,
    ScoringReplica,
    TextScore,
    score_batch,
    with_members,
)
from detox_ray.storage import Store

LEXICONS = {"a": {"en": ["idiot"], "de": ["lügner"]}, "b": {"en": ["idiot", "liar"]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "run"))


@pytest.fixture
def scorers(tmp_path: Path, store: Store) -> dict[str, ResolvedScorer]:
    """Return two lexicons and their mean."""
    import yaml

    entries: list[dict[str, Any]] = []
    for name, words in LEXICONS.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(words, allow_unicode=True), encoding="utf-8")
        entries.append({"name": name, "type": "lexicon", "path": str(path)})
    entries.append({"name": "both", "type": "ensemble", "members": ["a", "b"], "combine": "mean"})
    found: dict[str, ResolvedScorer] = {}
    for entry in ScoreConfig.model_validate({"scorers": entries}).scorers:
        assert not isinstance(entry, str)
        found[entry.name] = resolve(entry, None, store, found)
    return found


def made(scorers: Sequence[ResolvedScorer], store: Store, identifier: str | None = None) -> ScoringReplica:
    return ScoringReplica(scorers, identifier, None, ScoringConfig(batch_wait_s=0.01), store)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> ScoringReplica:
    """Return a scoring replica with an identifier and no scorers."""
    return made([], Store.at(str(tmp_path_factory.mktemp("run"))), "py3langid")


def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_an_ensemble_is_computed_from_members_that_are_not_served_themselves(
    scorers: dict[str, ResolvedScorer], store: Store
) -> None:
    judged: Judgement = go(made([scorers["both"]], store).judge("what a liar", "en", ["both"]))
    assert judged.scores == {"both": TextScore({"toxicity": 0.5}, "ok")}  # b alone knows the word


def test_what_cannot_be_scored_has_a_status_and_no_value(scorers: dict[str, ResolvedScorer], store: Store) -> None:
    served = made(list(scorers.values()), store)

    async def all_of_it() -> list[Judgement]:
        asked = [("ein lügner", "de"), ("  \n", "en"), ("x", "fr"), ("123", None)]
        return [await served.judge(text, language, list(scorers)) for text, language in asked]

    german, blank, french, unknown = go(all_of_it())
    assert german.scores["a"] == TextScore({"toxicity": 1.0}, "ok")
    assert german.scores["b"].status == german.scores["both"].status == "unsupported_language"
    for judged, status in ((blank, "empty"), (french, "unsupported_language"), (unknown, "unsupported_language")):
        assert {(one.status, len(one.values)) for one in judged.scores.values()} == {(status, 0)}


def test_without_a_language_scorers_are_told_the_detected_one(scorers: dict[str, ResolvedScorer], store: Store) -> None:
    text = "Der König und die Königin gehen heute in den großen Garten, du lügner"
    judged = go(made([scorers["a"]], store, "py3langid").judge(text, None, ["a"]))
    assert judged.detected.language == "de"
    assert judged.scores["a"] == TextScore({"toxicity": 1.0}, "ok")


@pytest.mark.parametrize(
    ("text", "status", "guessed"), [("", "empty", False), ("12 !", "too_short", False), ("hello", "too_short", True)]
)
def test_too_few_letters_have_no_language_but_a_guess(
    text: str, status: str, guessed: bool, listening: ScoringReplica
) -> None:
    detected: DetectedLanguage = go(listening.detect(text))
    assert (detected.language, detected.confidence, detected.status) == (None, None, status)
    assert (detected.guess is not None) == guessed


def test_without_an_identifier_no_language_is_told(store: Store) -> None:
    assert go(made([], store).detect("Good morning to all of you.")) == DetectedLanguage(None, None, "off")


def test_texts_that_come_at_once_make_one_batch(
    scorers: dict[str, ResolvedScorer], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(scorer: Any, by_language: bool, questions: Sequence[ScoreQuery]) -> list[TextScore]:
        sizes.append(len(questions))
        return score_batch(scorer, by_language, questions)

    monkeypatch.setattr(scoring, "score_batch", counted)
    judged = go(made([scorers["a"]], store).judge_all([f"text {n}" for n in range(20)], "en", ["a"]))
    assert [one.scores["a"].values for one in judged] == [{"toxicity": 0.0}] * 20
    assert sizes == [20]


class Recorder:
    """A scorer that records its calls and scores a text by its length."""

    name, device = "recorder", "cpu"
    attributes: tuple[str, ...] = ("toxicity",)

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[list[str], str]] = []
        self._error = error

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        self.asked.append((list(texts), language))
        if self._error is not None:
            raise self._error
        return [Failure("odd") if text == "odd" else {"toxicity": len(text) / 10} for text in texts]


def test_a_batch_asks_each_text_once_and_answers_in_order() -> None:
    recorder = Recorder()
    questions = [ScoreQuery("bb", "de"), ScoreQuery("a", "en"), ScoreQuery("odd", "en"), ScoreQuery("bb", "en")]
    found = score_batch(recorder, False, questions)
    assert found == [
        TextScore({"toxicity": 0.2}, "ok"),
        TextScore({"toxicity": 0.1}, "ok"),
        TextScore({}, "failed", "odd"),
        TextScore({"toxicity": 0.2}, "ok"),
    ]
    assert [texts for texts, _ in recorder.asked] == [["bb", "a", "odd"]]


def test_a_scorer_that_is_told_the_language_is_asked_by_language() -> None:
    recorder = Recorder()
    score_batch(recorder, True, [ScoreQuery("bb", "de"), ScoreQuery("a", "en"), ScoreQuery("bb", "en")])
    assert recorder.asked == [(["bb"], "de"), (["a", "bb"], "en")]


@pytest.mark.parametrize("error", [ServiceDown("no answer"), MemoryError()])
def test_a_scorer_that_breaks_down_fails_its_texts_and_makes_no_number(error: Exception) -> None:
    found = score_batch(Recorder(error), False, [ScoreQuery("a", "en"), ScoreQuery("b", "en")])
    assert [(one.values, one.status) for one in found] == [({}, "failed")] * 2
    assert type(error).__name__ in str(found[0].reason)


def test_cards_tell_attributes_and_languages(scorers: dict[str, ResolvedScorer], store: Store) -> None:
    cards = {card.name: card for card in go(made(list(scorers.values()), store).cards())}
    assert cards["both"].attributes == ("toxicity",)
    assert cards["both"].languages == ("en",)  # that both members know
    assert sorted(cards["a"].languages or ()) == ["de", "en"]


def test_members_stand_before_what_is_made_of_them(scorers: dict[str, ResolvedScorer]) -> None:
    assert [scorer.name for scorer in with_members([scorers["both"], scorers["a"]])] == ["a", "b", "both"]
