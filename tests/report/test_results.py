"""results.json and the CSV tables: the keys people's scripts rely on, null instead of NaN, nothing that runs."""

import csv
import io
import json
from dataclasses import replace

import pyarrow as pa
import pytest
from small_experiment import content

from detox_ray.report.csv_tables import csv_file, csv_tables
from detox_ray.report.published import PUBLISHED
from detox_ray.report.results import results
from detox_ray.storage.tables import COMPARISONS, METRICS


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))


def test_every_number_is_one_object_with_the_documented_keys() -> None:
    made = json.loads(results(content()))
    assert {frozenset(row) for row in made["metrics"]} == {frozenset(METRICS.columns.names)}
    assert {frozenset(row) for row in made["comparisons"]} == {frozenset(COMPARISONS.columns.names)}
    assert {"experiment", "metrics", "comparisons", "timings", "validity", "agreement", "settings"} <= set(made)
    assert len(made["metrics"]) == len(content().metrics)
    assert {"scorer", "reference", "language", "n", "n_toxic", "auroc", "best_f1_threshold", "status"} <= set(
        made["validity"][0]
    )
    assert made["settings"] == {"generate.samples": 4, "generate.temperature": 0.9, "measure.threshold": 0.5}
    assert made["timings"][0] == {
        **{"stage": "train", "model": "detox", "seconds": 75.2, "units": 1, "rows": 960, "rate": "12.8 pairs/s"}
    }


def test_unsupported_language_is_null_with_its_status() -> None:
    made = json.loads(results(content()))
    row = next(r for r in made["metrics"] if r["scorer"] == "detoxify" and r["language"] == "hi")
    assert (row["value"], row["ci_low"], row["n"], row["status"]) == (None, None, 0, "unsupported_language")


def test_nan_is_refused_rather_than_written() -> None:
    row = content().metrics.to_pylist()[0] | {"value": float("nan")}
    with pytest.raises(ValueError):
        results(replace(content(), metrics=pa.Table.from_pylist([row], schema=METRICS.columns)))


def test_only_timings_differ_between_a_resumed_and_an_undisturbed_run() -> None:
    whole, resumed = json.loads(results(content())), json.loads(results(replace(content(), timings=())))
    assert whole.pop("timings") != resumed.pop("timings")
    assert whole == resumed


def test_every_table_is_a_csv_with_the_same_numbers() -> None:
    made = csv_tables(content())
    assert set(made) == {
        f"tables/{name}.csv" for name in (*("metrics", "comparisons", "validity", "agreement", "counts", "published"),)
    }
    read, want = rows(made["tables/comparisons.csv"]), content().comparisons.to_pylist()
    assert len(read) == len(want) and list(read[0]) == COMPARISONS.columns.names
    for got, row in zip(read, want, strict=True):
        assert got["difference"] == ("" if row["difference"] is None else str(row["difference"]))
    assert rows(made["tables/validity.csv"])[0]["auroc"] == "0.93"
    numbers = sum(len(row.before) + len(row.after or {}) for row in PUBLISHED)
    assert len(rows(made["tables/published.csv"])) == numbers == 6 * 14 + 3 * 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "＝1"])
def test_text_never_becomes_a_formula(text: str) -> None:
    read = rows(csv_file(["name", "value"], [{"name": text, "value": -0.5}]))
    assert read[0]["name"].startswith("'")
    assert read[0]["value"] == "-0.5"  # a number stays one


def test_csv_holds_commas_quotes_newlines_and_any_script() -> None:
    text = 'a,"b"\nc\x00 \ud800 حسن 🤬'
    read = rows(csv_file(["name"], [{"name": text}]))
    assert read == [{"name": 'a,"b"\nc\ufffd ? حسن 🤬'}]
