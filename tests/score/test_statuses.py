"""The scoring worker: a row per completion and attribute, each with a status, and no number that was not given."""

from collections.abc import Callable
from typing import Any

from contexts import context, planned

from detox_ray.cluster.unit_jobs import Task
from detox_ray.score import ResolvedScorer
from detox_ray.score.scoring import ScoreStage, ScoringWorker
from detox_ray.score.variants.lexicon import LexiconConfig
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import GENERATIONS, SCORES

CONFIG = LexiconConfig(name="obedient", type="lexicon", path="x")
SCORER = ResolvedScorer("obedient", CONFIG, ("en", "fr"), "r1", "i" * 16, "s" * 16)

Commit = Callable[..., tuple[Unit, str]]


def plan(scorer: ResolvedScorer, units: dict[Unit, str]) -> dict[Unit, str]:
    return planned(ScoreStage(), context(units, scorers=[scorer]))


def scored(store: Store, source: tuple[Unit, str], scorer: ResolvedScorer = SCORER) -> tuple[list[Any], dict[str, Any]]:
    """(sample, attribute, value, status) of each row, and the marker's info."""
    ((unit, key),) = plan(scorer, dict([source])).items()
    product = ScoringWorker(scorer, 8, store).make(Task(unit, key, (source,)))
    rows = [(row["sample"], row["attribute"], row["value"], row["status"]) for row in product.rows.to_pylist()]
    assert product.amount == len(rows) // 2
    return rows, product.info


def test_every_completion_has_a_row_per_attribute(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("en", "0.5", "1"))
    assert sorted(rows) == [
        (0, "insult", 0.25, "ok"),
        (0, "toxicity", 0.5, "ok"),
        (1, "insult", 0.5, "ok"),
        (1, "toxicity", 1.0, "ok"),
    ]
    assert (info["scorer"], info["revision"], info["texts"], info["distinct"]) == ("obedient", "r1", 2, 2)


def test_white_space_is_empty_with_a_score_of_its_own_beside(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("en", "", " ", "\u3000\n", "\n" * 9, "0", "gibberish"))
    assert {row for row in rows if row[0] < 4 and row[1] == "toxicity"} == {
        (0, "toxicity", 0.25, "empty"),  # no text at all: as " "
        (1, "toxicity", 0.25, "empty"),
        (2, "toxicity", 0.5, "empty"),
        (3, "toxicity", None, "empty"),  # of which the scorer can make nothing: no value, and no failure
    }
    assert (4, "toxicity", 0.0, "ok") in rows
    assert info["status_counts"] == {"empty": 4, "ok": 1, "failed": 1}
    assert len(info["failures"]) == 1 and "gibberish" in info["failures"][0] and info["distinct"] == 2
    assert obedient.asked.count(" ") == 1 and "" not in obedient.asked


def test_text_that_cannot_be_scored_is_failed_and_says_why(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("en", "0.5", "gibberish"))
    assert (1, "toxicity", None, "failed") in rows and (1, "insult", None, "failed") in rows
    assert (0, "toxicity", 0.5, "ok") in rows
    assert info["status_counts"] == {"ok": 1, "failed": 1}
    assert "gibberish" in info["failures"][0]


def test_language_without_evidence_is_unsupported_and_not_asked(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("ko", "0.5", ""))
    assert {(value, status) for _, _, value, status in rows} == {(None, "unsupported_language")}
    assert obedient.asked == []
    assert info["attributes"] == ["toxicity", "insult"]


def test_scorer_of_all_languages_supports_every_one(store: Store, commit: Commit, obedient: Any) -> None:
    rows, _ = scored(store, commit("ko", "0.5"), SCORER._replace(languages=None))
    assert (0, "toxicity", 0.5, "ok") in rows


def test_equal_texts_are_scored_once(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("fr", "0.5", "0.5", "0.5"))
    assert obedient.asked == ["0.5"]
    assert len(rows) == 6 and (info["texts"], info["distinct"]) == (3, 1)


def test_unit_without_rows_is_a_unit_without_rows(store: Store, commit: Commit, obedient: Any) -> None:
    rows, info = scored(store, commit("en"))
    assert rows == [] and info["status_counts"] == {}


def test_scores_are_redone_for_other_completions_or_another_scorer_only() -> None:
    unit = GENERATIONS.unit(model="base", language="en", shard=2)
    ((scores, key),) = plan(SCORER, {unit: "a"}).items()
    assert scores == SCORES.unit(scorer="obedient", model="base", language="en", shard=2)
    assert plan(SCORER, {unit: "a"})[scores] == key
    assert plan(SCORER, {unit: "b"})[scores] != key
    assert plan(SCORER._replace(key="t" * 16), {unit: "a"})[scores] != key
