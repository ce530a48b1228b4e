"""results.json: the keys people's scripts rely on, null instead of NaN, and what a comparison could have detected."""

import json
from dataclasses import replace
from statistics import NormalDist

import pyarrow as pa
import pytest
from small_experiment import content

from detox_ray.report import render
from detox_ray.report.results import detectable, results
from detox_ray.tables import METRICS

METRIC_KEYS = {"metric", "model", "language", "scorer", "convention", "value", "ci_low", "ci_high", "n", "status"}
COMPARISON_KEYS = {
    *("metric", "model", "parent", "language", "scorer", "convention", "difference", "ci_low", "ci_high"),
    *("p_value", "p_corrected", "n", "status", "detectable"),
}


def test_every_number_is_one_object_with_the_documented_keys() -> None:
    made = json.loads(results(content()))
    assert {frozenset(row) for row in made["metrics"]} == {frozenset(METRIC_KEYS)}
    assert {frozenset(row) for row in made["comparisons"]} == {frozenset(COMPARISON_KEYS)}
    assert {"experiment", "metrics", "comparisons", "timings", "validity"} <= set(made)
    assert len(made["metrics"]) == len(content().metrics)
    assert set(made["validity"][0]) == {
        *("scorer", "reference", "language", "n", "auroc", "ci_low", "ci_high", "status"),
    }
    assert made["timings"][0] == {
        **{"stage": "train", "model": "detox", "seconds": 75.2, "units": 1, "rows": 960, "rate": "12.8 pairs/s"}
    }


def test_unsupported_language_is_null_with_its_status() -> None:
    made = json.loads(results(content()))
    row = next(r for r in made["metrics"] if r["scorer"] == "detoxify" and r["language"] == "hi")
    assert (row["value"], row["ci_low"], row["n"], row["status"]) == (None, None, 0, "unsupported_language")
    macro = next(r for r in made["metrics"] if r["scorer"] == "detoxify" and r["language"] == "macro")
    assert macro["n"] == 16


def test_nan_is_refused_rather_than_written() -> None:
    row = content().metrics.to_pylist()[0] | {"value": float("nan")}
    with pytest.raises(ValueError):
        results(replace(content(), metrics=pa.Table.from_pylist([row], schema=METRICS)))


def test_only_timings_differ_between_a_resumed_and_an_undisturbed_run() -> None:
    whole, resumed = json.loads(results(content())), json.loads(results(replace(content(), timings=())))
    assert whole.pop("timings") != resumed.pop("timings")
    assert whole == resumed


def test_detectable_difference_is_found_four_times_in_five() -> None:
    error = 0.05  # standard error
    z = NormalDist().inv_cdf(0.975)
    smallest = detectable(-z * error, z * error, 0.95)
    assert smallest is not None
    power = 1 - NormalDist(smallest, error).cdf(z * error)  # chance that a test at 5 % finds it, upper side
    assert power == pytest.approx(0.8, abs=1e-6)
    assert detectable(None, None, 0.95) is None


def test_render_gives_page_numbers_and_figure() -> None:
    files = render(content())
    assert set(files) == {"index.html", "results.json", "figures/toxicity.svg"}
