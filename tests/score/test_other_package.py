"""A type of scorer that another package adds by an entry point is used like ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detox_ray.config import ConfigError, Experiment, ScoreConfig
from detox_ray.config.loading import validate, validated
from detox_ray.config.plugins import variants
from detox_ray.score import Failure, ResolvedScorer, check, load, ready_scorers, resolve
from detox_ray.storage import Store

OTHER_PACKAGE = Path(__file__).parent / "other_package"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Put a folder with a package and its metadata on the path, where pip would put it."""

    def add(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        variants.cache_clear()

    yield add
    variants.cache_clear()


@pytest.fixture
def shouting(install: Callable[[Path], None], tmp_path: Path) -> dict[str, Any]:
    """A definition of the type that the other package adds."""
    install(OTHER_PACKAGE)
    acronyms = tmp_path / "acronyms.txt"
    acronyms.write_text("NASA\nUNO\n", encoding="utf-8")
    return {"name": "loud", "type": "shouting", "acronyms": str(acronyms)}


def test_another_packages_scorer_scores_from_the_runs_own_copy_of_its_files(
    shouting: dict[str, Any], store: Store
) -> None:
    config = validated(ScoreConfig, {"scorers": ["toy17-lexicon", shouting]}, "CONFIG")
    assert check(config) == []
    resolved = resolve(config.scorers[1], None, store)
    Path(shouting["acronyms"]).unlink()
    assert (resolved.languages, resolved.cached, resolved.folder) == (("de", "en", "fr"), False, "scorers/loud")
    assert load(resolved, store, 512).score(["NASA said NOTHING today", "go"], "en") == [
        {"toxicity": 0.25},
        Failure("has no word of 3 letters"),
    ]


def test_the_guide_shows_the_package_that_is_tested() -> None:
    guide = (OTHER_PACKAGE.parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    assert (OTHER_PACKAGE / "shouting.py").read_text(encoding="utf-8") in guide


def test_its_problems_name_field_value_and_rule(shouting: dict[str, Any]) -> None:
    (problem,) = check(validated(ScoreConfig, {"scorers": [shouting | {"acronyms": "nowhere.txt"}]}, "CONFIG"))
    assert str(problem) == "score.scorers.0.acronyms: must be an existing file (got 'nowhere.txt')"
    with pytest.raises(ConfigError) as caught:
        validated(ScoreConfig, {"scorers": [shouting | {"shortest": 0, "loudest": 1}]}, "CONFIG")
    assert [(found.field, found.value) for found in caught.value.problems] == [
        ("scorers.0.shortest", 0),
        ("scorers.0.loudest", 1),
    ]


def test_its_identity_follows_its_fields_but_those_without_influence(shouting: dict[str, Any], store: Store) -> None:
    def resolved(**changes: object) -> ResolvedScorer:
        (entry,) = ScoreConfig.model_validate({"scorers": [shouting | changes]}).scorers
        return resolve(entry, None, store)

    plain = resolved()
    assert resolved(remark="for Monday", name="louder").identity == plain.identity
    assert resolved(shortest=4).identity != plain.identity
    Path(shouting["acronyms"]).write_text("NASA\n", encoding="utf-8")
    assert resolved().identity != plain.identity


def test_an_experiment_with_it_is_written_read_and_described_like_any_other(shouting: dict[str, Any]) -> None:
    raw = {
        "name": "mine",
        "data": {"prompts": {"source": "toy17"}},
        "models": {"base": {"path": "toy17"}},
        "score": {"scorers": [shouting, {"name": "both", "type": "ensemble", "members": ["loud", "loud"]}]},
    }
    with pytest.raises(ConfigError, match=r"score\.scorers\.1\.members: each entry may occur only once"):
        validate(raw)
    raw["score"] = {"scorers": ["toy17-lexicon", shouting]}
    experiment = validate(raw)
    assert "shortest: 3" in experiment.to_yaml()
    written = json.loads(experiment.model_dump_json())
    assert validate(written) == experiment
    schema = Experiment.model_json_schema()
    jsonschema.validate(written, schema)
    written["score"]["scorers"][1]["shortest"] = "three"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema)


def test_a_scorer_whose_package_is_not_here_says_so() -> None:
    rule = r"scorers\.0\.type: must be one of calibrated, .*needs that package installed here"
    with pytest.raises(ConfigError, match=rule):
        validated(ScoreConfig, {"scorers": [{"name": "loud", "type": "shouting", "acronyms": "a.txt"}]}, "CONFIG")


BROKEN = {
    "no_scorer:Nothing": "must be a subclass of detox_ray.score.ScorerVariant",
    "no_scorer:Absent": "cannot be loaded: AttributeError",
    "no_scorer:Second": "both have a ready scorer 'perspective'",
}
MODULE = """
from typing import Literal
from detox_ray.score import ReadyScorer, ScorerVariant

class Nothing:
    kind = "nothing"

class Second(ScorerVariant):
    type: Literal["nothing"]

    @classmethod
    def ready(cls):
        return [ReadyScorer(cls(name="perspective", type="nothing"), ("toxicity",), None, "mine", "none")]
"""


@pytest.mark.parametrize(("value", "rule"), BROKEN.items())
def test_what_another_package_does_wrong_is_reported_with_its_name(
    install: Callable[[Path], None], tmp_path: Path, value: str, rule: str
) -> None:
    (tmp_path / "no_scorer.py").write_text(MODULE, encoding="utf-8")
    metadata = tmp_path / "no_scorer-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: no-scorer\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(f"[detox_ray.scorers]\nnothing = {value}\n")
    install(tmp_path)
    with pytest.raises(ValueError, match="nothing") as caught:
        validated(ScoreConfig, {"scorers": [{"name": "mine", "type": "nothing"}]}, "CONFIG")
        ready_scorers()
    assert rule in str(caught.value)
