"""Forest plot, heat map and trade-off: where things stand, what is on the frontier, and the files."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

from small_experiment import content

from detox_ray.report import published
from detox_ray.report.embedded_figure import drawings
from detox_ray.report.figure_files import difference_files, forest_files, label_heights, tradeoff_files
from detox_ray.report.forest import ForestRow, marked_change, marked_name, ordered
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.page import figures
from detox_ray.report.pair_sections import pair_sections
from detox_ray.report.tradeoff import Cloud, Point, clouds

SVG = "{http://www.w3.org/2000/svg}"


HALF, TENTH = IntervalValue(0.5, 0.4, 0.6), IntervalValue(0.05, 0.0, 0.1)
ROWS = ordered(
    ForestRow("Mean", HALF, TENTH),
    [
        ForestRow("Absent", None, None, "no value"),
        ForestRow("Zero", IntervalValue(0.0, 0.0, 0.0), TENTH),
        ForestRow("Little", HALF, IntervalValue(0.4, 0.3, 0.5), in_macro=False),
        ForestRow("Much", IntervalValue(0.8, 0.7, 0.9), IntervalValue(0.4, 0.3, 0.5), significant=True),
    ],
)


def texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def tooltips(svg: bytes) -> list[str]:
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return [title.text or "" for group in groups if (title := group.find(f"{SVG}title")) is not None]


def test_forest_sorts_by_relative_reduction_with_the_mean_first_and_absent_languages_last() -> None:
    assert [marked_name(row) for row in ROWS] == ["Mean", "Much", "Little\u00a0†", "Zero", "Absent"]
    assert [marked_change(row) for row in ROWS] == ["−90\u00a0%", "−50\u00a0%\u00a0*", "−20\u00a0%", "–", "–"]


def test_forest_file_holds_names_changes_and_the_numbers_of_each_row_as_a_tooltip() -> None:
    svg = forest_files("forest", ROWS, "Title", "axis", "before: base", "after: detox")["figures/forest.svg"]
    assert {"Little\u00a0†", "−50\u00a0%\u00a0*", " no value", "before: base", "after: detox"} <= set(texts(svg))
    assert tooltips(svg) == [
        "Mean: before 0.500 (0.400 to 0.600), after 0.050 (0.000 to 0.100), −90\u00a0%",
        "Much: before 0.800 (0.700 to 0.900), after 0.400 (0.300 to 0.500), −50\u00a0%, significant",
        "Little: before 0.500 (0.400 to 0.600), after 0.400 (0.300 to 0.500), −20\u00a0%, left out of the mean",
        "Zero: before 0.000 (0.000 to 0.000), after 0.050 (0.000 to 0.100), –",
        "Absent: no value",
    ]


def test_differences_are_written_with_their_sign() -> None:
    rows = [ForestRow("a", None, IntervalValue(-0.2, -0.3, -0.1)), ForestRow("b", None, None, "no value")]
    svg = difference_files("differences", rows, "Title", "axis")["figures/differences.svg"]
    assert {"−0.200", " no value", "a", "b"} <= set(texts(svg))
    assert tooltips(svg) == ["a: −0.200 (−0.300 to −0.100)", "b: no value"]


def test_embedded_figures_have_ids_of_their_own_no_style_and_the_colours_of_the_page() -> None:
    files = forest_files("forest", ROWS, "Title", "axis", "before: base", "after: detox")
    twice = drawings({"figures/one.svg": files["figures/forest.svg"], "figures/two.svg": files["figures/forest.svg"]})
    page = "".join(twice.values())
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    referred = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert referred and set(referred) <= set(ids)
    assert set(" ".join(re.findall(r'aria-labelledby="([^"]+)"', page)).split()) <= set(ids)
    assert " style=" not in page and "<style" not in page and "#c2500a" not in page and 'stroke="var(--before)"' in page
    assert b"#c2500a" in files["figures/forest.svg"]  # the file stands alone


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
    return Point(name, IntervalValue(x, x - 0.01, x + 0.01), IntervalValue(y, y - 0.01, y + 0.01), outside)


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
    points = [point(f"model {i}", 5 + i / 1000, 0.5) for i in range(6)]
    heights = sorted(label_heights(points, (4, 6), (0, 1)))
    assert all(b - a >= 9 for a, b in pairwise(heights))


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
