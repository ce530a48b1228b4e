"""The first screen: the model that one would release, each verdict and why, the figure and the rules' numbers."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from small_experiment import NO_EVIDENCE, UNSUPPORTED_HERE, content
from small_release import judged, release
from small_sweep import swept

from detox_ray.config import GateConfig
from detox_ray.gate import FAIL, INCONCLUSIVE, PASS
from detox_ray.report import ReportContent
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.overview import PARENT, DotModel, Dots, overview
from detox_ray.report.overview_figure import overview_files
from detox_ray.report.page import index
from detox_ray.report.release import recommendation, recommended
from detox_ray.report.results import results

SVG = "{http://www.w3.org/2000/svg}"
LESS_TOXIC = GateConfig.model_validate(
    {"toxicity": {"metric": "average_toxicity", "relative_reduction": 0.3, "languages": "macro"}}
)
HARMLESS = GateConfig.model_validate(
    {"toxicity": {"metric": "average_toxicity", "relative_reduction": 0.99, "languages": "macro"}}
)


@pytest.fixture(scope="module")
def tuned() -> ReportContent:
    return release()


def first_screen(page: ReportContent) -> str:
    """The words of the page up to its list of sections."""
    html = index(page, {}).decode("utf-8").partition("<main")[2].partition("<nav")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("\u00a0", " ").split())


def test_the_model_that_keeps_every_language_is_released_and_the_less_toxic_one_is_not_for_it_lost_english(
    tuned: ReportContent,
) -> None:
    text = first_screen(tuned)
    assert re.search(r"Release detox\. Average toxicity falls from 0\.\d+ to 0\.\d+ \(−\d+ %\), mean of 15 lang", text)
    assert re.search(r"✓ passes ● detox 0\.\d+ → 0\.\d+ −\d+ % Average toxicity is at least 25 % lower in 1\d of", text)
    assert re.search(r"✗ fails ■ dpo 0\.\d+ → 0\.\d+ −\d+ % English: the share of completions in the language of", text)
    assert "fell from 94 % to 19 %" in text and "a fall of at most 20 points is allowed." in text
    assert re.search(
        r"Language consistency at most 20 points lower, in each language ✓ .* ✗ English \(worst\) 94", text
    )
    assert "A model organism: no evidence about real models" in text


def test_of_models_that_pass_the_least_toxic_one_is_recommended(tuned: ReportContent) -> None:
    assert recommended(judged(tuned, LESS_TOXIC)) == "dpo"
    assert recommended(tuned) == "detox"


def test_a_page_without_a_model_that_passes_says_so_and_why(tuned: ReportContent) -> None:
    neither = judged(tuned, HARMLESS)
    assert recommended(neither) is None
    text = first_screen(neither)
    assert text.count("✗ fails") == 2
    assert "Do not release any of these models. The release rules are not met by dpo and detox." in text
    wide = judged(content())  # intervals of a tenth on either side
    (verdict,) = wide.verdicts
    assert verdict.verdict == INCONCLUSIVE
    undecided = recommendation(wide)
    assert undecided is not None and (undecided.model, undecided.advice) == (None, "Do not release detox yet.")
    assert "too small, or lacks a measurement, to judge detox" in undecided.why
    screen = overview(wide)
    assert screen is not None and (screen.lines[0].sign, screen.lines[0].word) == ("?", "inconclusive")


def test_the_figure_shows_each_tuned_models_change_from_its_own_parent() -> None:
    def model(name: str, parent: str | None, value: float) -> DotModel:
        tone, shape = (PARENT, "○") if parent is None else (PASS, "●")
        return DotModel(name, parent, tone, shape, [IntervalValue(value, None, None)] * 3)

    models = [
        model("first", None, 0.5),
        model("second", None, 0.2),
        model("a", "first", 0.4),
        model("b", "second", 0.1),
    ]
    svg = overview_files(Dots("Toxicity", "toxicity", ["Mean", "English", "French"], [""] * 3, models))[
        "figures/overview.svg"
    ]
    shown = {text.strip() for element in ElementTree.fromstring(svg).iter(f"{SVG}text") for text in element.itertext()}
    assert {"−20\u00a0%", "−50\u00a0%"} <= shown


def test_without_a_tuned_model_there_is_no_verdict() -> None:
    alone = judged(replace(content(), models=("base",), compare=[], samples=()))
    assert overview(alone) is None and recommended(alone) is None
    document = json.loads(results(alone))
    assert (document["verdicts"], document["recommended"]) == ([], None)
    assert "release" not in first_screen(alone).lower()


def test_results_hold_every_verdict_with_its_rules_and_languages(tuned: ReportContent) -> None:
    document = json.loads(results(tuned))
    assert document["recommended"] == "detox"
    assert [(row["model"], row["verdict"]) for row in document["verdicts"]] == [("dpo", FAIL), ("detox", PASS)]
    rule = document["verdicts"][0]["checks"][3]
    assert (rule["title"], rule["scope"], rule["verdict"]) == ("Language consistency", "in each language", FAIL)
    broken = [row["language"] for row in rule["findings"] if row["verdict"] == FAIL]
    assert broken == ["en"] and rule["reason"] == document["verdicts"][0]["reason"]


def test_the_figure_has_each_model_in_each_language_and_says_the_numbers(tuned: ReportContent) -> None:
    screen = overview(tuned)
    assert screen is not None and screen.dots is not None
    tones = {model.name: model.tone for model in screen.dots.models}
    assert tones == {"base": "parent", "detox": PASS, "dpo": FAIL}
    names = screen.dots.names
    assert names[0] == "Mean" and len(names) == 18 and names[-1] == "Hindi\u00a0†" and "Korean\u00a0†" in names
    assert {UNSUPPORTED_HERE, NO_EVIDENCE} == {"hi", "ko"}
    files = overview_files(screen.dots)
    assert set(files) == {"figures/overview.svg", "figures/overview.pdf"}
    root = ElementTree.fromstring(files["figures/overview.svg"])
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts.count("detox") == texts.count("dpo") == 2  # legend and column
    assert sum(text.startswith("−") for text in texts) == 2 * 17
    tooltips = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any(re.fullmatch(r"Mean: base 0\.\d+ \(.*\), detox 0\.\d+ \(.*\), dpo 0\.\d+ \(.*\)", t) for t in tooltips)
    assert "Hindi\u00a0†: the scorer does not know this language" in tooltips


def test_of_many_models_figure_and_table_show_the_best_and_say_so() -> None:
    many = judged(swept({"learning_rate": [1e-5, 5e-6, 2e-4, 1e-4, 3e-4, 4e-4]}))
    screen = overview(many)
    assert screen is not None and screen.dots is not None
    assert len(screen.lines) == 6 and len(screen.shown) == 4 and len(screen.dots.models) == 5
    assert sum(bool(line.shape) for line in screen.lines) == 4
    assert "Figure and table show 4 of 6 tuned models." in first_screen(many)


def test_a_mean_over_seeds_is_judged_as_one_model() -> None:
    screen = overview(judged(swept({"seeds": [0, 1, 2]})))
    assert screen is not None and [(line.model, line.seeds) for line in screen.lines] == [("detox", 3)]
