"""Forest plot, heat map and trade-off: where things stand, what is on the frontier, and the files."""

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from small_experiment import content

from detox_ray.report import published
from detox_ray.report.figure_files import tradeoff_files
from detox_ray.report.forest import ForestRow, ordered, place, place_differences
from detox_ray.report.page import figures
from detox_ray.report.pair_sections import pair_sections
from detox_ray.report.scales import Reading, scale
from detox_ray.report.tradeoff import Cloud, Point, clouds
from detox_ray.report.tradeoff import place as place_cloud

SVG = "{http://www.w3.org/2000/svg}"


def test_forest_sorts_by_relative_reduction_with_the_mean_first_and_absent_languages_last() -> None:
    half, tenth = Reading(0.5, 0.4, 0.6), Reading(0.05, 0.0, 0.1)
    rows = ordered(
        ForestRow("Mean", half, tenth),
        [
            ForestRow("Absent", None, None, "no value"),
            ForestRow("Zero", Reading(0.0, 0.0, 0.0), tenth),
            ForestRow("Little", half, Reading(0.4, 0.3, 0.5), in_macro=False),
            ForestRow("Much", Reading(0.8, 0.7, 0.9), Reading(0.4, 0.3, 0.5), significant=True),
        ],
    )
    figure = place(rows)
    assert [row.name for row in figure.rows] == ["Mean", "Much", "Little\u00a0†", "Zero", "Absent"]
    assert [row.change for row in figure.rows] == ["−90\u00a0%", "−50\u00a0%\u00a0*", "−20\u00a0%", "–", "–"]
    much = figure.rows[1]
    assert much.before is not None and much.after is not None
    assert much.after.x - figure.left == pytest.approx((much.before.x - figure.left) / 2, abs=0.02)
    assert figure.ticks[0].label == "0.0" and figure.ticks[-1].at == figure.right
    assert figure.rows[4].spoken == "Absent: no value"


def test_differences_stand_around_zero() -> None:
    figure = place_differences(
        [ForestRow("a", None, Reading(-0.2, -0.3, -0.1)), ForestRow("b", None, None, "no value")]
    )
    fall = figure.rows[0].after
    assert fall is not None and figure.zero is not None and fall.x < figure.zero
    assert fall.high is not None and fall.low is not None and fall.low < fall.x < fall.high < figure.zero
    assert figure.rows[0].change == "−0.200"


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [5.0], [-3.0, 4.0], [0.97, 0.98], [1e-9, 2e-9], [1e6, 3e6], []])
def test_scale_holds_every_value_between_its_ends(values: list[float]) -> None:
    made = scale(values, 0, 100)
    assert 2 <= len(made.ticks) <= 9
    assert all(-0.01 <= made.at(value) <= 100.01 for value in values)
    assert len({tick.label for tick in made.ticks}) == len(made.ticks) or max(values, default=1) < 1e-6


def test_heat_map_is_better_or_worse_by_the_metric_and_says_why_a_cell_is_empty() -> None:
    heat = pair_sections(content())[0].heat
    assert heat is not None
    at = {column.full: i for i, column in enumerate(heat.columns)}
    rows = {row.name: row.cells for row in heat.rows}
    assert heat.rows[0].macro and len(heat.rows) == 18
    mean = rows["Mean"]
    assert mean[at["Average toxicity by detoxify"]].shade == "good3"
    assert "Average toxicity by lexicon" not in at  # the primary scorer's only
    assert mean[at["Perplexity of harmless text"]].shade == "bad1"
    assert mean[at["Distinct 2-grams (words)"]].shade == "bad1"  # fewer is worse
    consistency = mean[at["Language consistency by lingua"]]
    assert consistency.shade == "bad2" and consistency.text.startswith("−9") and "pp" in consistency.text
    hindi = rows["Hindi\u00a0†"][at["Average toxicity by detoxify"]]
    assert (hindi.text, hindi.shade, hindi.spoken) == ("–", "", "the scorer does not know this language")
    drift = rows["English"][at["Drift to English by lingua"]]
    assert (drift.shade, drift.spoken) == ("", "not asked of this language")


def point(name: str, x: float, y: float, outside: bool = False) -> Point:
    return Point(name, Reading(x, x - 0.01, x + 0.01), Reading(y, y - 0.01, y + 0.01), outside)


def test_frontier_holds_the_models_that_no_other_beats() -> None:
    points = [point("a", 5, 0.5), point("b", 6, 0.2), point("worse", 6.5, 0.3), point("c", 8, 0.1)]
    paper = point("paper", 1, 0.0, outside=True)
    lower = Cloud("", "", "", 2, "lower", [*points, paper], [])
    assert [lower.points[i].name for i in lower.frontier] == ["a", "b", "c"]
    higher = lower._replace(x_direction="higher")  # now c is best on both axes
    assert [higher.points[i].name for i in higher.frontier] == ["c"]
    naive = {
        p.name
        for p in points
        if not any(q is not p and q.x.value <= p.x.value and q.y.value <= p.y.value for q in points)
    }
    assert naive == {"a", "b", "c"}


def test_trade_off_shows_published_marks_only_where_they_compare() -> None:
    panels = {cloud.title: cloud for cloud in clouds(content())}
    assert set(panels) == {
        "Toxicity against perplexity of harmless text",
        "Toxicity against perplexity of completions under mt5",
        "Toxicity against distinct 2-grams (words)",
        "Toxicity against language consistency by lingua",
    }
    hollow = {title: sum(p.published for p in cloud.points) for title, cloud in panels.items()}
    assert sorted(hollow.values()) == [0, 0, 12, 12]
    assert hollow["Toxicity against perplexity of completions under mt5"] == 12
    causal = clouds(replace(content(), evaluators=()))
    assert sum(p.published for cloud in causal for p in cloud.points) == 12  # distinct 2-grams
    cloud = panels["Toxicity against language consistency by lingua"]
    assert [p.name for p in cloud.points] == ["base", "detox"] and cloud.links == [(0, 1)]


def test_labels_of_neighbours_do_not_stand_on_each_other() -> None:
    placed = place_cloud(Cloud("", "", "", 2, "lower", [point(f"model {i}", 5 + i / 1000, 0.5) for i in range(6)], []))
    heights = sorted(p.label_y for p in placed.points)
    assert all(b - a >= 12 for a, b in pairwise(heights))


def test_published_means_are_those_of_table_2() -> None:
    rows = {row.model: row for row in published.PUBLISHED}
    llama = rows["Llama3-8B"]
    assert llama.after is not None
    assert (llama.before["toxicity_probability"], llama.after["toxicity_probability"]) == (0.642, 0.201)
    assert (llama.before["perplexity"], llama.after["dist_3"]) == (16.27, 0.781)
    assert rows["Gemma-2-9B-it"].before == {"expected_maximum_toxicity": 0.481, "language_consistency": 0.827}
    assert len(published.points("dist_2", "average_toxicity")) == 6
    assert published.points("language_consistency", "average_toxicity") == []


def test_figure_files_are_whole_hold_their_names_and_are_the_same_each_time() -> None:
    made = content(("ar", "hi", "ko"))
    files = figures(made)
    names = ("forest-detox-vs-base", "heatmap-detox-vs-base", "tradeoff")
    assert set(files) == {f"figures/{name}.{kind}" for name in names for kind in ("svg", "pdf")}
    text = {name: "".join(ElementTree.fromstring(files[f"figures/{name}.svg"]).itertext()) for name in names}
    assert "Korean\u00a0†" in text[names[0]] and "the scorer does not know this language" in text[names[0]]
    assert "Arabic" in text[names[1]] and "base" in text[names[2]]
    for name in names:
        pdf = files[f"figures/{name}.pdf"]
        assert pdf.startswith(b"%PDF") and b"DejaVu" in pdf and b"CreationDate" not in pdf
    again = tradeoff_files("tradeoff", clouds(made))
    assert again == {name: files[name] for name in again}
