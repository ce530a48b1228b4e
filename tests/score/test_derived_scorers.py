"""Derived scorers and labelled texts: what a row becomes when its members are of two minds, and who is asked what."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contexts import context, planned

from detox_ray.cluster.unit_jobs import Task
from detox_ray.config import InputError, ScoreConfig
from detox_ray.score import ResolvedScorer, resolve
from detox_ray.score.derived_scorers import DerivedWorker
from detox_ray.score.scoring import LabelledScoreStage, ScoreStage, ScoringWorker
from detox_ray.score.variants.lexicon import LexiconConfig
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import GENERATIONS, LABELLED, LABELLED_SCORES, SCORES

Commit = Callable[..., tuple[Unit, str]]
Row = tuple[float | None, str]


def member(name: str, languages: tuple[str, ...] | None = None) -> ResolvedScorer:
    config = LexiconConfig(name=name, type="lexicon", path="x")
    return ResolvedScorer(name, config, languages, f"revision of {name}", f"i-{name}", f"k-{name}")


def derived(store: Store, entry: dict[str, Any], *members: ResolvedScorer) -> ResolvedScorer:
    scorers = [{"name": each.name, "type": "lexicon", "path": "x"} for each in members]
    config = ScoreConfig.model_validate({"scorers": [*scorers, {"name": "both", **entry}]}).scorers[-1]
    return resolve(config, None, store, {each.name: each for each in members})


def unit_of(scorer: ResolvedScorer, source: tuple[Unit, str]) -> tuple[Unit, str]:
    """The unit of a scorer's view of ``source``, and its key."""
    units = planned(ScoreStage(), context(dict([source]), scorers=[*scorer.members, scorer]))
    return next((unit, key) for unit, key in units.items() if unit["scorer"] == scorer.name)


def commit_scores(
    store: Store, scorer: ResolvedScorer, source: tuple[Unit, str], **rows: list[Row]
) -> tuple[Unit, str]:
    """Attribute -> (value, status) of each completion."""
    unit, key = unit_of(scorer, source)
    table = [
        {"prompt_id": "en-0", "sample": sample, "attribute": name, "value": value, "status": status}
        for name, column in rows.items()
        for sample, (value, status) in enumerate(column)
    ]
    store.commit(unit, key, pa.Table.from_pylist(table, schema=SCORES.columns), {"attributes": list(rows)})
    return unit, key


def made(
    store: Store, scorer: ResolvedScorer, source: tuple[Unit, str], *inputs: tuple[Unit, str]
) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    unit, key = unit_of(scorer, source)
    product = DerivedWorker(scorer, store).make(Task(unit, key, inputs))
    rows: dict[str, list[Row]] = {}
    for row in product.rows.to_pylist():
        rows.setdefault(row["attribute"], []).append((row["value"], row["status"]))
    return rows, product.info


A, B, C = (member(name) for name in "abc")


@pytest.mark.parametrize(("combine", "value"), [("mean", 0.5), ("median", 0.4), ("max", 0.9)])
def test_ensemble_combines_the_attributes_all_members_have(
    store: Store, commit: Commit, combine: str, value: float
) -> None:
    source = commit("en", "x")
    ensemble = derived(store, {"type": "ensemble", "members": ["a", "b", "c"], "combine": combine}, A, B, C)
    inputs = [
        commit_scores(store, A, source, toxicity=[(0.2, "ok")], insult=[(0.3, "ok")]),
        commit_scores(store, B, source, insult=[(0.1, "ok")], toxicity=[(0.4, "ok")]),
        commit_scores(store, C, source, toxicity=[(0.9, "ok")]),
    ]
    rows, info = made(store, ensemble, source, *inputs)
    assert rows == {"toxicity": [(pytest.approx(value), "ok")]}
    assert info["attributes"] == ["toxicity"]
    assert info["members"] == ["a", "b", "c"] and info["status_counts"] == {"ok": 1}


def test_row_is_ok_only_if_all_members_are(store: Store, commit: Commit) -> None:
    source = commit("en", *"wxyz", "\n", " ")
    ensemble = derived(store, {"type": "ensemble", "members": ["a", "b"]}, A, B)
    one = [(0.2, "ok"), (None, "failed"), (0.4, "ok"), (None, "empty"), (0.5, "empty"), (0.1, "empty")]
    two = [(0.6, "ok"), (0.1, "ok"), (None, "unsupported_language"), (None, "failed"), (0.2, "empty"), (None, "empty")]
    rows, info = made(
        store,
        ensemble,
        source,
        commit_scores(store, A, source, toxicity=one),
        commit_scores(store, B, source, toxicity=two),
    )
    assert rows["toxicity"] == [
        (pytest.approx(0.4), "ok"),
        (None, "failed"),
        (None, "unsupported_language"),
        (None, "empty"),
        (pytest.approx(0.35), "empty"),  # white space has a value where all members have one
        (None, "empty"),
    ]
    assert info["status_counts"] == {"ok": 1, "failed": 1, "unsupported_language": 1, "empty": 3}


def test_unit_without_rows_is_a_unit_without_rows(store: Store, commit: Commit) -> None:
    source = commit("en")
    ensemble = derived(store, {"type": "ensemble", "members": ["a", "b"]}, A, B)
    inputs = [commit_scores(store, each, source, toxicity=[]) for each in (A, B)]
    rows, info = made(store, ensemble, source, *inputs)
    assert rows == {} and info["texts"] == 0 and info["status_counts"] == {}


def calibration(path: Path, **changes: Any) -> Path:
    content = {
        "version": 2,
        "scorer": "a",
        "identity": A.identity,
        "reference": "human: mine",
        "method": "isotonic",
        "languages": {"en": {"n": 50, "x": [0.0, 0.5, 1.0], "y": [0.0, 0.9, 1.0]}},
        **changes,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_calibrated_scores_are_mapped_where_there_is_a_map(store: Store, commit: Commit, tmp_path: Path) -> None:
    path = calibration(tmp_path / "map.json")
    mapped = derived(store, {"type": "calibrated", "of": "a", "path": str(path)}, A)
    assert mapped.languages == ("en",)
    for language, expected in (
        ("en", [(pytest.approx(0.45), "ok"), (None, "failed")]),
        ("fr", [(None, "unsupported_language")] * 2),
    ):
        source = commit(language, "x", "y")
        given = commit_scores(store, A, source, toxicity=[(0.25, "ok"), (None, "failed")], insult=[(0.5, "ok")] * 2)
        rows, info = made(store, mapped, source, given)
        assert rows == {"toxicity": expected}
        assert info["attributes"] == ["toxicity"]


def test_calibration_of_other_scores_is_refused(store: Store, tmp_path: Path) -> None:
    path = calibration(tmp_path / "map.json", identity="older")
    with pytest.raises(InputError, match="older"):
        derived(store, {"type": "calibrated", "of": "a", "path": str(path)}, A)


def test_derived_units_follow_their_members_and_maps(store: Store, tmp_path: Path) -> None:
    source = GENERATIONS.unit(model="base", language="en", shard=1), "g"

    def key(*members: ResolvedScorer, **entry: Any) -> str:
        return unit_of(derived(store, entry, *members), source)[1]

    mean = key(A, B, type="ensemble", members=["a", "b"])
    assert mean == key(A, B, type="ensemble", members=["a", "b"], combine="mean")
    assert mean != key(A, B, type="ensemble", members=["a", "b"], combine="max")
    assert mean != key(A, B._replace(key="new"), type="ensemble", members=["a", "b"])
    path = calibration(tmp_path / "map.json")
    before = key(A, type="calibrated", of="a", path=str(path))
    calibration(path, languages={"en": {"n": 50, "x": [0.0, 1.0], "y": [0.0, 0.5]}})
    assert before != key(A, type="calibrated", of="a", path=str(path))


def test_labelled_texts_are_scored_like_completions(store: Store, obedient: Any) -> None:
    texts = [("en-1", "0.5"), ("en-2", ""), ("en-3", "rude"), ("en-4", "0.5")]
    rows = [
        {"text_id": i, "cluster": i, "text": t, "kind": "prompt", "grade": 1.0, "toxic": False, "source": "s"}
        for i, t in texts
    ]
    source = LABELLED.unit(language="en")
    store.commit(source, "l" * 16, pa.Table.from_pylist(rows, schema=LABELLED.columns))
    ((unit, key),) = planned(LabelledScoreStage(), context({source: "l" * 16}, scorers=[A])).items()
    assert unit == LABELLED_SCORES.unit(scorer="a", language="en")
    product = ScoringWorker(A, 512, store).make(Task(unit, key, ((source, "l" * 16),)))
    store.commit(unit, key, product.rows, product.info)
    toxicity = [row for row in store.read(unit, key).to_pylist() if row["attribute"] == "toxicity"]
    assert [(row["text_id"], row["value"], row["status"]) for row in toxicity] == [
        ("en-1", 0.5, "ok"),
        ("en-2", 0.25, "empty"),
        ("en-3", None, "failed"),
        ("en-4", 0.5, "ok"),
    ]
    assert sorted(obedient.asked) == [" ", "0.5", "rude"]
