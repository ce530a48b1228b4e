"""Seeds are shown as their mean and stay in the tables; what a sweep varies is a curve and a table, by number."""

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from small_experiment import content
from small_sweep import RATES, experiment, swept

from detox_ray.gate import PASS, Spec, judge
from detox_ray.report import ReportContent, render, render_several
from detox_ray.report.csv_tables import csv_tables
from detox_ray.report.page import index, own_rows
from detox_ray.report.pair_sections import pair_sections
from detox_ray.report.results import results
from detox_ray.report.shown_models import shown_models, shown_pairs
from detox_ray.report.sweeps import curves, sweep_clouds, sweep_tables
from detox_ray.report.tradeoff import clouds
from detox_ray.run import headline

SEEDS = {"learning_rate": 1e-5, "seeds": [0, 1, 2]}
BY_RATE = [f"detox-learning_rate-{rate:g}" for rate in sorted(RATES)]


def document(made: ReportContent) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(results(made))
    return loaded


def spoken(made: ReportContent) -> str:
    text = re.sub(r"<(style|script)\b[^>]*>.*?</\1>", "", index(made, {}).decode("utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def test_seeds_are_shown_as_one_model_where_means_are() -> None:
    made = swept(SEEDS)
    assert shown_models(made) == ["base", "detox"] and shown_pairs(made) == [("detox", "base")]
    assert [view.model for view in pair_sections(made)] == ["detox"]
    assert {row.model for row in own_rows(made)} == {"base", "detox"}
    assert {point.name for point in clouds(made)[0].points if not point.published} == {"base", "detox"}
    saved = document(made)
    assert saved["models"] == ["base", "detox"] and saved["compare"] == [{"model": "detox", "parent": "base"}]
    assert saved["seed_groups"] == {"detox": [f"detox-seed{seed}" for seed in range(3)]} and saved["sweeps"] == {}


def test_single_seeds_stay_in_the_tables() -> None:
    made = swept(SEEDS)
    models = {row["model"] for row in document(made)["comparisons"]}
    assert models == {"detox", "detox-seed0", "detox-seed1", "detox-seed2"}
    sheet = list(csv.DictReader(io.StringIO(csv_tables(made)["tables/metrics.csv"].decode())))
    assert {(row["model"], row["seeds"], row["seed_std"] != "") for row in sheet if row["status"] == "ok"} == {
        *((f"detox-seed{seed}", "1", False) for seed in range(3)),
        ("detox", "3", True),
        ("base", "1", False),
    }
    table = pair_sections(made)[0].seeds
    assert table is not None and [row.name for row in table.rows] == [*(f"detox-seed{s}" for s in range(3)), "detox"]
    assert [row.mean for row in table.rows] == [False, False, False, True]
    assert table.between[0] == "0.014" and len(table.between) == len(table.columns) == len(table.rows[0].cells)
    assert len(table.heat.columns) == 4


def test_page_says_what_a_mean_over_seeds_is() -> None:
    text = spoken(swept(SEEDS))
    assert "after: detox, mean of 3 seeds" in text and "from resampling seeds, then prompts" in text
    assert "standard deviation between seeds 0.014" in text and "A mean over seeds stands for" in text
    assert "Between seeds" in text and "± 0.014" in text
    plain = spoken(content(("ar", "en")))
    assert "seed" not in plain.replace("seed: 0", "")  # the experiment's own


def test_a_seed_compared_by_itself_is_shown_by_itself() -> None:
    made = swept(SEEDS)
    alone = made.comparisons.filter([name == "detox-seed1" for name in made.comparisons["model"].to_pylist()])
    made = replace(made, compare=[("detox-seed1", "base")], comparisons=alone)
    assert shown_pairs(made) == [("detox-seed1", "base")] and pair_sections(made)[0].seeds is None


def test_sweep_is_a_curve_in_the_order_of_its_numbers() -> None:
    panels = sweep_clouds(swept())
    assert [panel.title for panel in panels][:1] == ["Toxicity against perplexity of harmless text"]
    panel = panels[0]
    assert [panel.points[i].name for i in panel.curves[0]] == ["5e-06", "1e-05", "0.0002"]
    assert [panel.points[i].y.value for i in panel.curves[0]] == sorted(
        (p.y.value for p in panel.points[:3]), reverse=True
    )
    assert [point.name for point in panel.points if point.parent] == ["base"]
    assert panel.frontier == [] and len(panel.curves) == 1


def test_sweep_is_a_table_with_its_parent_first() -> None:
    (table,) = sweep_tables(swept())
    assert table.family == "detox" and table.fields == ["learning_rate"]
    assert [row.model for row in table.rows] == ["base", *BY_RATE]
    assert [row.values for row in table.rows] == [[""], ["5e-06"], ["1e-05"], ["0.0002"]]
    assert [row.seeds for row in table.rows] == [1, 2, 2, 2] and table.rows[0].difference.value == "–"
    assert table.columns[0] == "Average toxicity by detoxify" and table.rows[1].difference.value.startswith("−")
    lines = list(csv.DictReader(io.StringIO(csv_tables(swept())["tables/sweeps.csv"].decode())))
    assert [*dict.fromkeys((line["model"], line["train.learning_rate"]) for line in lines)] == list(
        zip(BY_RATE, ["5e-06", "1e-05", "0.0002"], strict=True)
    )
    assert {line["language"] for line in lines} == {"macro"} and {line["seeds"] for line in lines} == {"2"}
    assert "tables/sweeps.csv" not in csv_tables(content(("ar", "en")))


def test_page_and_files_show_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def undrawn(name: str, *_: object) -> dict[str, bytes]:
        return {f"figures/{name}.{kind}": b"<svg/>" for kind in ("svg", "pdf")}

    monkeypatch.setattr("detox_ray.report.page.figure_files.forest_files", undrawn)
    monkeypatch.setattr("detox_ray.report.page.figure_files.heat_files", undrawn)
    files = render(swept())
    figure = ElementTree.fromstring(files["figures/sweeps.svg"])
    words = {"".join(text.itertext()).strip() for text in figure.iter("{http://www.w3.org/2000/svg}text")}
    assert {"5e-06", "1e-05", "0.0002", "base"} <= words and "figures/sweeps.pdf" in files
    page = files["index.html"].decode()
    assert set(re.findall(r"href=\"#([^\"]+)\"", page)) <= set(re.findall(r"id=\"([^\"]+)\"", page))
    links = set(re.findall(r"href=\"((?:tables|figures)/[^\"]+)\"", page))
    assert links <= set(files) and {"figures/sweeps.svg", "tables/sweeps.csv"} <= links
    assert "along learning_rate." in spoken(swept())


def test_several_fields_make_a_curve_for_each_choice_of_the_others() -> None:
    made = experiment({"learning_rate": [1e-5, 1e-6, 1e-4], "beta": [0.3, 0.1]}).sweeps["detox"]
    found = curves(made, "detox")
    assert [curve.name for curve in found] == ["detox, beta 0.1", "detox, beta 0.3"]
    assert all([value for _, value in curve.models] == ["1e-06", "1e-05", "0.0001"] for curve in found)


def test_choices_without_an_order_are_points_and_not_joined() -> None:
    made = swept({"tuning": ["lora", "full"]})
    panel = sweep_clouds(made)[0]
    assert panel.curves == () and [p.name for p in panel.points] == ["lora", "full", "base"]
    assert [row.values for row in sweep_tables(made)[0].rows] == [[""], ["lora"], ["full"]]


def test_swept_model_without_a_value_is_no_point_and_says_why() -> None:
    made = swept()
    rows = [
        {**row, "value": None, "ci_low": None, "ci_high": None, "status": "no_language_with_value"}
        if (row["model"], row["metric"], row["language"]) == (BY_RATE[1], "average_toxicity", "macro")
        else row
        for row in made.metrics.to_pylist()
    ]
    gaps = [
        {**row, "difference": None, "status": "no_language_with_value"}
        if (row["model"], row["metric"], row["language"]) == (BY_RATE[1], "average_toxicity", "macro")
        else row
        for row in made.comparisons.to_pylist()
    ]
    made = replace(
        made,
        metrics=made.metrics.from_pylist(rows, schema=made.metrics.schema),
        comparisons=made.comparisons.from_pylist(gaps, schema=made.comparisons.schema),
    )
    panel = sweep_clouds(made)[0]
    assert [panel.points[i].name for i in panel.curves[0]] == ["5e-06", "0.0002"]
    assert sweep_tables(made)[0].rows[2].problem == "no language has a value"
    assert "no language has a value" in spoken(made)


def test_terminal_says_the_mean_over_seeds_and_not_each() -> None:
    lines = headline(document(swept(SEEDS)))
    assert len(lines) == 1 and "detox (mean of 3 seeds) 0." in lines[0]
    assert "seeds" not in headline(document(content(("ar", "en"))))[0]


def test_gate_judges_the_mean_over_seeds() -> None:
    rule = {"metric": "average_toxicity", "relative_reduction": 0.1, "languages": "macro"}
    verdict = judge(document(swept(SEEDS)), Spec.model_validate({"toxicity": rule}))
    assert verdict.verdict == PASS and verdict.model == "detox"


def test_runs_are_ranked_by_their_means_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("tradeoff_files", "difference_files"):
        monkeypatch.setattr(f"detox_ray.report.run_comparison.figure_files.{kind}", lambda *_: {})
    page = render_several([("seeded", document(swept(SEEDS))), ("plain", document(content(("ar", "en"))))], "Two")
    text = " ".join(re.sub(r"<[^>]+>", " ", page["index.html"].decode()).replace("\u00a0", " ").split())
    assert "detox mean of 3 seeds seeded base" in text and "detox-seed1" not in text
    assert "detox-seed1" in page["tables/models.csv"].decode()
