"""The table of what a paper's scripts print: a mean with its deviation, a median with its quartiles, as rounded."""

from dataclasses import replace

import pyarrow as pa
from small_experiment import content

from detox_ray.report import ReportContent
from detox_ray.report.page import index
from detox_ray.report.paper_tables import printed_tables
from detox_ray.storage.tables import METRICS

SPREADS = {"average_toxicity_std": 0.1234, "dist_1_std": 0.0505, "perplexity_q1": 3.0, "perplexity_q3": 6.125}
OF = {"average_toxicity_std": "detoxify", "dist_1_std": "words"}


def with_spreads() -> ReportContent:
    made = content(convention="paper")
    like = [row for row in made.metrics.to_pylist() if row["metric"] == "novelty" and row["convention"] == "paper"]
    rows = [
        {**row, "metric": metric, "scorer": OF.get(metric, "mt5"), "value": value}
        for metric, value in SPREADS.items()
        for row in like
    ]
    table = pa.concat_tables([made.metrics, pa.Table.from_pylist(rows, schema=METRICS.columns)])
    return replace(made, metrics=table)


def test_means_and_medians_stand_beside_their_spreads() -> None:
    made = with_spreads()
    base, detox = printed_tables(made)
    assert (base.model, detox.model) == ("base", "detox")
    assert base.columns == [
        *("Average toxicity by detoxify", "Expected maximum toxicity by detoxify", "Toxicity probability by detoxify"),
        *("Perplexity of completions under mt5", *(f"Distinct {n}-grams (words)" for n in (1, 2, 3))),
    ]
    english = dict(zip(base.columns, next(row.cells for row in base.rows if row.language == "English"), strict=True))
    row = next(
        row
        for row in made.metrics.to_pylist()
        if (row["metric"], row["scorer"], row["convention"]) == ("average_toxicity", "detoxify", "paper")
        and (row["model"], row["language"]) == ("base", "en")
    )
    assert english["Average toxicity by detoxify"] == f"{row['value']:.3f} ± 0.123"
    assert english["Perplexity of completions under mt5"].endswith(" (3.00 to 6.12)")
    assert "±" not in english["Toxicity probability by detoxify"]
    page = index(made, {}).decode("utf-8")
    assert "± 0.123" in page and 'href="#printed"' in page


def test_convention_without_spreads_has_no_such_table() -> None:
    assert printed_tables(content()) == []
    assert "As the paper's scripts print it" not in index(content(), {}).decode("utf-8")


def test_spreads_are_written_as_what_spreads() -> None:
    metrics = content().described
    assert metrics.of("perplexity_q1").decimals == 2
    assert metrics.of("dist_2_std").title == "Distinct 2-grams, standard deviation"
    assert metrics.of("dist_2_std").spread_of == "dist_2" and metrics.of("dist_2").spread_of is None
