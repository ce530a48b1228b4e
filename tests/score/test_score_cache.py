"""The score cache: what another run of the same storage asked is not asked again, and failures are."""

from pathlib import Path
from typing import Any

import pytest

from detox_ray.score import ResolvedScorer
from detox_ray.score.cached_scorer import CachedScorer
from detox_ray.score.score_cache import FOLDER, ScoreCache
from detox_ray.score.scorers import Failure, Scores, ServiceDown
from detox_ray.score.variants.detoxify import DetoxifyConfig
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.storage import Store, key_of

CONFIG = DetoxifyConfig(name="obedient", type="detoxify", path="x")
SCORER = ResolvedScorer("obedient", CONFIG, None, "r1", "i" * 16, "s" * 16)


@pytest.mark.parametrize(
    ("run", "storage"),
    [
        ("/runs/mine", "/runs"),
        ("s3://bucket/runs/mine", "s3://bucket/runs"),
        ("s3://bucket/mine?endpoint_override=h:1", "s3://bucket?endpoint_override=h:1"),
    ],
)
def test_cache_stands_beside_the_runs(run: str, storage: str) -> None:
    assert Store(run).beside.uri == storage


def test_another_run_of_the_storage_asks_only_what_is_new(tmp_path: Path, obedient: Any) -> None:
    CachedScorer(SCORER, 512, Store(str(tmp_path / "one"))).score(["0.5", "0.25", "", "0.5"], "en", "a")
    assert obedient.asked == [" ", "0.25", "0.5"]
    obedient.asked.clear()
    answers = CachedScorer(SCORER, 512, Store(str(tmp_path / "two"))).score(["0.5", "0.75", "0.5", ""], "fr", "b")
    assert obedient.asked == ["0.75"]
    assert answers.values["toxicity"] == [0.5, 0.75, 0.5, 0.25]
    assert answers.values["insult"] == [0.25, 0.375, 0.25, 0.125]
    assert answers.statuses == ["ok", "ok", "ok", "empty"]
    assert [answers.info[name] for name in ("texts", "distinct", "from_cache")] == [4, 2, 1]


def test_notes_are_of_texts_that_were_asked(tmp_path: Path, obedient: Any) -> None:
    obedient.notes = {"truncated_texts": 1}
    scorer = CachedScorer(SCORER, 512, Store(str(tmp_path / "run")))
    assert scorer.score(["0.5"], "en", "a").info["truncated_texts"] == 1
    assert "truncated_texts" not in scorer.score(["0.5"], "en", "b").info


def test_failures_are_tried_again(tmp_path: Path, obedient: Any) -> None:
    scorer = CachedScorer(SCORER, 512, Store(str(tmp_path / "run")))
    assert scorer.score(["gibberish"], "en", "a").statuses == ["failed"]
    obedient.asked.clear()
    assert scorer.score(["gibberish"], "en", "b").statuses == ["failed"]
    assert obedient.asked == ["gibberish"]


def test_other_revision_or_device_has_its_own_scores(tmp_path: Path, obedient: Any) -> None:
    store = Store(str(tmp_path / "run"))
    CachedScorer(SCORER, 512, store).score(["0.5"], "en", "a")
    for scorer, device in ((SCORER._replace(identity="j" * 16), "cpu"), (SCORER, "a GPU")):
        obedient.asked.clear()
        obedient.device = device
        CachedScorer(scorer, 512, store).score(["0.5"], "en", "a")
        assert obedient.asked == ["0.5"]


def test_language_counts_where_the_scorer_is_told_it(tmp_path: Path, obedient: Any) -> None:
    config = PerspectiveConfig(name="obedient", type="perspective")
    scorer = CachedScorer(SCORER._replace(config=config), 512, Store(str(tmp_path / "run")))
    scorer.score(["0.5"], "en", "a")
    scorer.score(["0.5"], "fr", "b")
    assert obedient.asked == ["0.5"] * 2


def test_parts_of_other_actors_are_seen_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    one, two = (ScoreCache(store, "id", ["toxicity"]) for _ in range(2))
    assert one.find(["a", "b"], "any") == {} == two.find(["a"], "any")
    two.add({"a": {"toxicity": 0.1}}, "any", "k2")
    (tmp_path / FOLDER / "id" / "any" / "k3.parquet").write_bytes(b"PAR1 not really")
    assert one.find(["b", "a", "a"], "any") == {"a": {"toxicity": 0.1}}
    one.add({"b": {"toxicity": 0.2}, "\ud800": {"toxicity": 0.3}}, "any", "k1")
    assert one.find(["b", "\ud800"], "any") == {"b": {"toxicity": 0.2}, "\ud800": {"toxicity": 0.3}}
    assert two.find(["b"], "any") == {"b": {"toxicity": 0.2}}


def test_cache_holds_no_text(tmp_path: Path, obedient: Any) -> None:
    CachedScorer(SCORER, 512, Store(str(tmp_path / "run"))).score(["0.1234567"], "en", "a")
    (part,) = (tmp_path / FOLDER).rglob("*.parquet")
    assert b"0.1234567" not in part.read_bytes()


def test_storage_that_cannot_be_written_costs_the_cache_only(
    tmp_path: Path, obedient: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Store, "write_bytes", refuse)
    answers = CachedScorer(SCORER, 512, Store(str(tmp_path / "run"))).score(["0.5"], "en", "a")
    assert answers.statuses == ["ok"]


def test_service_that_goes_down_keeps_what_it_answered_and_ends_the_unit(
    tmp_path: Path, obedient: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PerspectiveConfig(name="obedient", type="perspective")
    texts = [f"{number / 1000}" for number in range(100, 500)]

    def down(asked: list[str], language: str) -> list[Scores | Failure]:
        if texts[-1] in asked:
            raise ServiceDown("no answer")
        return [{"toxicity": float(text), "insult": 0.0} for text in asked]

    monkeypatch.setattr(obedient, "score", down)
    with pytest.raises(ServiceDown):
        CachedScorer(SCORER._replace(config=config), 512, Store(str(tmp_path / "run"))).score(texts, "en", "a")
    monkeypatch.undo()
    identity = key_of(scorer=SCORER.identity, device=obedient.device)
    cache = ScoreCache(Store(str(tmp_path / "run")), identity, obedient.attributes)
    assert len(cache.find(texts, "en")) == 256
