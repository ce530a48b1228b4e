"""A metric that only its spec states goes through measuring, report, tables, gate and the comparison of runs."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import small_tables as tables

import detox_ray.measure
from detox_ray.config import ConfigError
from detox_ray.config.plugins import variants
from detox_ray.gate import FAIL, INCONCLUSIVE, PASS, Spec, judge
from detox_ray.measure import Inputs, Measured, Settings, measure, specs
from detox_ray.report import ReportContent, render_several
from detox_ray.report.csv_tables import csv_tables
from detox_ray.report.page import index
from detox_ray.report.pair_sections import pair_sections
from detox_ray.report.results import results
from detox_ray.storage import Table
from detox_ray.storage.metric_spec import ClusterSums, Ideal, MetricInput, Metrics, MetricSpec, UnknownMetric

LANGUAGES = ("de", "fr")
PROMPTS = 40
PREFERENCES = Table("preferences", ("model", "language"), pa.schema([]))


def stereotype_share(given: MetricInput) -> Mapping[str, ClusterSums]:
    """The share of pairs whose stereotyped side a model prefers, of all pairs and of those about gender."""
    pairs = given.tables["preferences"]
    if given.language == "hi":
        return {"all": ClusterSums(status="no_pairs", counts={"no_pairs": 3})}
    parts = {"all": pairs, "gender": pairs.filter(pc.equal(pairs["about"], "gender"))}
    return {
        part: ClusterSums(
            rows["pair"].to_pylist(), rows["stereotyped"].to_numpy().astype(float), np.ones(len(rows)), counts={"ok": 1}
        )
        for part, rows in parts.items()
    }


PREFERENCE = MetricSpec(
    name="stereotype_preference",
    title="Stereotype preference",
    meaning="share of pairs whose stereotyped side the model finds likelier",
    short="Stereotypes",
    kind="bias",
    direction=Ideal(0.5),
    unit="share of pairs",
    change="points",
    scorer="made-up-pairs",
    needs=(PREFERENCES,),
    compute=stereotype_share,
)
SPECS = (*specs(), PREFERENCE)
SHARES = {"base": 0.9, "tuned": 0.5}


def preferences(share: float) -> pa.Table:
    stereotyped = [k < round(share * PROMPTS) for k in range(PROMPTS)]
    about = ["gender" if k % 2 else "religion" for k in range(PROMPTS)]
    return pa.table({"pair": [f"q{k}" for k in range(PROMPTS)], "stereotyped": stereotyped, "about": about})


def inputs(**changes: Any) -> Inputs:
    completions = {model: tables.completions([[value, value]] * 3) for model, value in (("base", 0.9), ("tuned", 0.2))}
    places = [(model, code) for model in SHARES for code in (*LANGUAGES, "hi")]
    fields: dict[str, Any] = {
        "languages": (*LANGUAGES, "hi"),
        "models": tuple(SHARES),
        "compare": [("tuned", "base")],
        "supports": {"clf": (*LANGUAGES, "hi")},
        "reference": None,
        "prompts": {code: tables.prompts(["a", "b", "c"]) for code in (*LANGUAGES, "hi")},
        "generations": {place: tables.generations(completions[place[0]]) for place in places},
        "scores": {("clf", *place): tables.scores(completions[place[0]]) for place in places},
        "likelihoods": {},
        "tables": {"preferences": {place: preferences(SHARES[place[0]]) for place in places}},
    }
    return Inputs(**(fields | changes))


def measured(**changes: Any) -> Measured:
    settings = Settings("corrected", 200, 0.95, 0.5, 0, {}, "percentile", "holm")
    return measure(inputs(**changes), settings, SPECS)


def content(found: Measured) -> ReportContent:
    return ReportContent(
        experiment="made up",
        experiment_yaml="",
        languages=(*LANGUAGES, "hi"),
        models=tuple(SHARES),
        compare=[("tuned", "base")],
        metrics=found.metrics,
        comparisons=found.comparisons,
        described=Metrics(SPECS),
        primary="clf",
        convention="corrected",
        confidence=0.95,
    )


@pytest.fixture(scope="module")
def made() -> ReportContent:
    return content(measured())


@pytest.fixture(scope="module")
def document(made: ReportContent) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(results(made))
    return loaded


def row(rows: list[dict[str, Any]], **keys: str) -> dict[str, Any]:
    (only,) = [r for r in rows if all(r[key] == value for key, value in keys.items())]
    return only


def test_every_part_has_values_intervals_tests_and_macro_means() -> None:
    found = measured()
    place = {"metric": PREFERENCE.name, "language": "fr", "part": "all"}
    value = row(found.metrics.to_pylist(), **place, model="base")
    assert (value["value"], value["n"], value["scorer"], value["status"]) == (0.9, PROMPTS, "made-up-pairs", "ok")
    assert value["ci_low"] < 0.9 < value["ci_high"]
    gap = row(found.comparisons.to_pylist(), **place)
    assert gap["difference"] == pytest.approx(-0.4) and gap["p_corrected"] == pytest.approx(2 * gap["p_value"])
    mean = row(found.metrics.to_pylist(), metric=PREFERENCE.name, language="macro", part="gender", model="tuned")
    assert (mean["value"], mean["n"]) == (0.5, 2)
    assert sum(count.n for count in found.counts if count.scorer == "made-up-pairs" and count.status == "ok") == 8


def test_what_a_language_or_model_lacks_is_a_status() -> None:
    found = measured().metrics.to_pylist()
    assert row(found, metric=PREFERENCE.name, language="hi", part="all", model="base")["status"] == "no_pairs"
    given = dict(inputs().tables["preferences"])
    del given["tuned", "fr"]
    found = measured(tables={"preferences": given}).metrics.to_pylist()
    assert row(found, metric=PREFERENCE.name, language="fr", part="gender", model="tuned")["status"] == "missing"
    assert not [r for r in measured(tables={}).metrics.to_pylist() if r["metric"] == PREFERENCE.name]  # not asked for


def test_results_and_sheet_describe_and_hold_it(made: ReportContent, document: dict[str, Any]) -> None:
    described = Metrics.from_rows(document["metrics_described"]).of(PREFERENCE.name)
    assert (described.title, described.direction, described.kind) == ("Stereotype preference", Ideal(0.5), "bias")
    lines = list(csv.DictReader(io.StringIO(csv_tables(made)["tables/metrics.csv"].decode())))
    line = row(lines, metric=PREFERENCE.name, language="de", model="tuned", part="gender")
    assert float(line["value"]) == 0.5


def test_page_has_its_own_heading_and_calls_closer_to_the_ideal_better(made: ReportContent) -> None:
    (pair,) = pair_sections(made)
    assert [(kind.heading, [table.title for table in kind.tables]) for kind in pair.kinds] == [
        ("Bias", ["Stereotype preference by made-up-pairs", "Stereotype preference by made-up-pairs, gender"])
    ]
    assert pair.heat is not None
    (column,) = [i for i, column in enumerate(pair.heat.columns) if column.short == "Stereotypes"]
    cell = pair.heat.rows[0].cells[column]
    assert (cell.shade, cell.text.split("\u00a0")[:2]) == ("good3", ["−40.0", "pp"])
    assert "closer to 0.5 is better" in index(made, {}).decode()
    away = content(measured(tables={"preferences": {p: preferences(1 - SHARES[p[0]] + 0.4) for p in _places()}}))
    worse = pair_sections(away)[0].heat
    assert worse is not None and worse.rows[0].cells[column].shade == "bad3"  # from 0.5 to 0.9


def _places() -> list[tuple[str, str]]:
    return [(model, code) for model in SHARES for code in (*LANGUAGES, "hi")]


@pytest.mark.parametrize(("distance", "verdict"), [(0.4, PASS), (0.05, INCONCLUSIVE)])
def test_gate_wants_the_whole_interval_near_the_ideal(document: dict[str, Any], distance: float, verdict: str) -> None:
    rule = {"metric": PREFERENCE.name, "part": "gender", "max_distance": distance, "over": list(LANGUAGES)}
    judged = judge(document, Spec.model_validate({"margins": [rule]}))
    assert judged.verdict == verdict
    asked = f"Stereotype preference, gender: at most {distance} from 0.5, in each of German and French"
    assert judged.checks[0].asked == asked
    biased = {**document, "compare": [{"model": "base", "parent": "tuned"}]}
    assert judge(biased, Spec.model_validate({"margins": [{**rule, "max_distance": 0.1}]})).verdict == FAIL


def test_gate_refuses_a_bound_that_knows_no_ideal(document: dict[str, Any]) -> None:
    rule = {"metric": PREFERENCE.name, "max_increase": 0.1}
    with pytest.raises(ConfigError, match=r"max_distance is needed: of this metric, closer to 0\.5 is better"):
        judge(document, Spec.model_validate({"margins": [rule]}))


def test_comparison_of_runs_ranks_and_shows_it_without_knowing_its_stage(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("tradeoff_files", "difference_files"):
        monkeypatch.setattr(f"detox_ray.report.run_comparison.figure_files.{kind}", lambda *_: {})
    files = render_several([("one", document), ("two", {**document, "experiment": "again"})], "Two")
    assert "Stereotype preference by made-up-pairs" in files["index.html"].decode()
    lines = list(csv.DictReader(io.StringIO(files["tables/models.csv"].decode())))
    assert {line["part"] for line in lines if line["metric"] == PREFERENCE.name} == {"all", "gender"}


def test_metric_that_is_not_described_is_an_error(document: dict[str, Any]) -> None:
    described = [metric for metric in document["metrics_described"] if metric["name"] != PREFERENCE.name]
    with pytest.raises(UnknownMetric, match=r"stereotype_preference.*known: average_toxicity, "):
        render_several([("one", {**document, "metrics_described": described})], "One")


def test_runs_that_disagree_about_a_direction_are_not_compared(document: dict[str, Any]) -> None:
    turned = [
        {**metric, "direction": "higher"} if metric["name"] == PREFERENCE.name else metric
        for metric in document["metrics_described"]
    ]
    with pytest.raises(ValueError, match="two runs disagree about stereotype_preference"):
        render_several([("one", document), ("two", {**document, "metrics_described": turned})], "Two")


@pytest.fixture
def module_in_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.copy(Path(__file__).parent / "completion_length.py", tmp_path)
    monkeypatch.setattr(detox_ray.measure, "__path__", [*detox_ray.measure.__path__, str(tmp_path)])
    variants.cache_clear()  # type: ignore[attr-defined]
    yield
    sys.modules.pop("detox_ray.measure.completion_length", None)
    variants.cache_clear()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("module_in_measure")
def test_one_file_in_measure_adds_a_metric_over_an_existing_table() -> None:
    settings = Settings("corrected", 200, 0.95, 0.5, 0, {}, "percentile", "holm")
    found = measure(inputs(), settings, specs())
    value = row(found.metrics.to_pylist(), metric="completion_length", language="fr", model="base")
    assert (value["value"], value["scorer"], value["n"]) == (1.0, "tokenizer", 3)
