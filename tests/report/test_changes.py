"""Bias against toxicity: a dot is a tuned model's change of both."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from small_experiment import content

from detox_ray.report import ReportContent
from detox_ray.report.changes import NAME, change_clouds, losses
from detox_ray.report.page import figures
from detox_ray.storage.metric_spec import MetricDescription, Metrics
from detox_ray.storage.tables import COMPARISONS, METRICS

DISTANCE = MetricDescription(
    name="distance",
    title="Distance from fair",
    meaning="how far from one half",
    short="Distance",
    kind="bias",
    direction="lower",
    change="points",
)


def with_bias() -> ReportContent:
    """The small experiment with bias, which changes by 0.03 on average."""
    plain = content()

    def added(table: pa.Table, schema: pa.Schema, **macro: Any) -> pa.Table:
        rows = [
            {**row, "metric": "distance", "scorer": "pairs"} | (macro if row["language"] == "macro" else {})
            for row in table.to_pylist()
            if (row["metric"], row["scorer"]) == ("average_toxicity", "lexicon")
        ]
        return pa.concat_tables([table, pa.Table.from_pylist(rows, schema=schema)])

    changed = {"difference": -0.03, "ci_low": -0.05, "ci_high": -0.01, "status": "ok"}
    return replace(
        plain,
        metrics=added(plain.metrics, METRICS.columns),
        comparisons=added(plain.comparisons, COMPARISONS.columns, **changed),
        described=Metrics([*plain.described.descriptions, DISTANCE]),
    )


def test_a_dot_has_both_changes_with_their_intervals() -> None:
    made = with_bias()
    (cloud,) = change_clouds(made)
    (point,) = cloud.points
    assert (point.name, point.x) == ("detox", (-0.03, -0.05, -0.01))
    (row,) = [
        row
        for row in made.comparisons.to_pylist()
        if (row["metric"], row["scorer"], row["language"], row["convention"])
        == (made.described.headline, made.primary, "macro", made.convention)
    ]
    assert point.y == (row["difference"], row["ci_low"], row["ci_high"])
    assert cloud.title == "Change of distance from fair (pairs) against change of average toxicity"


def test_bias_under_switches_of_its_own_block_is_shown() -> None:
    made = with_bias()
    switched = [
        {**row, "convention": "corrected+ties=against"} if row["metric"] == "distance" else row
        for row in made.comparisons.to_pylist()
        if row["metric"] != "distance" or row["convention"] == made.convention
    ]
    table = pa.Table.from_pylist(switched, schema=COMPARISONS.columns)
    (cloud,) = change_clouds(replace(made, comparisons=table))
    assert cloud.points == change_clouds(made)[0].points


def test_without_bias_there_is_no_such_figure() -> None:
    assert change_clouds(content()) == []
    assert not any(NAME in path for path in figures(content()))


def test_the_figure_stands_on_the_page() -> None:
    from detox_ray.report.page import index

    made = with_bias()
    drawn = figures(made)
    assert {path.rsplit("/", 1)[-1] for path in drawn if NAME in path} == {f"{NAME}.svg", f"{NAME}.pdf"}
    page = index(made, drawn).decode()
    assert '<h2 id="bias-toxicity">' in page and "detox: Change of distance from fair, pairs −0.030" in page


@pytest.mark.parametrize(
    ("kind", "low", "high", "lost"),
    [("knowledge", -0.2, -0.06, True), ("knowledge", -0.2, -0.04, False), ("bias", -0.2, -0.06, False)],
)
def test_only_a_sure_loss_is_called_one(kind: Any, low: float, high: float, lost: bool) -> None:
    made = with_bias()
    accuracy = replace(DISTANCE, title="Accuracy", kind=kind, direction="higher")
    rows = made.comparisons.to_pylist()
    for row in rows:
        if (row["metric"], row["language"]) == ("distance", "macro"):
            row |= {"difference": (low + high) / 2, "ci_low": low, "ci_high": high}
    changed = replace(
        made,
        comparisons=pa.Table.from_pylist(rows, schema=COMPARISONS.columns),
        described=Metrics([*content().described.descriptions, accuracy]),
    )
    expected = {"detox": ["Accuracy by pairs: −13.0 points"]} if lost else {}
    assert losses(changed) == expected
