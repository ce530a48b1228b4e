"""The page as text: what is said, what is escaped, what each kind of experiment shows."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pyarrow.compute as pc
import pytest
from small_experiment import ARABIC, HOSTILE, SCRIPT, content

from detox_ray.report import Completion, ReportContent, Sample, render
from detox_ray.report.figure import FigureRow, Reading, place
from detox_ray.report.words import duration, interval, number, p_value, visible
from detox_ray.tables import OK


def html(made: ReportContent) -> str:
    return render(made)["index.html"].decode("utf-8")


def spoken(made: ReportContent) -> str:
    """The page's words without tags, white space collapsed."""
    text = re.sub(r"<(style|script)>.*?</\1>", "", html(made), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def test_hostile_text_is_escaped_wherever_it_comes_from() -> None:
    text = html(content())
    assert "<script>document" not in text and "<img" not in text
    assert text.count("<script>") == 1  # the page's own
    assert text.count("&lt;script&gt;document") >= 5  # note, settings, manifest, prompt, completion
    assert "toy17 &lt;b&gt;demo&lt;/b&gt;" in text
    assert "{{ 7*7 }}" in text  # text is data, never a template
    assert "\x00" not in text and "\ufffd" in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = html(content())
    assert not re.search(r"(?:src|href)=\"(?!data:,)", text)
    assert "url(" not in text and "@import" not in text
    assert re.search(r"default-src &#39;none&#39;.*script-src &#39;sha256-", text)


def test_headline_says_numbers_scorer_convention_verdict_and_who_is_left_out() -> None:
    text = spoken(content())
    assert "mean of 16 languages." in text
    assert "Left out of the mean: Hindi (the scorer does not know this language)." in text
    assert "Scorer detoxify , convention corrected" in text
    assert re.search(r"interval of the difference, \[−0\.\d+, −0\.\d+\], excludes no change: toxicity fell\.", text)
    assert "mean of 17 languages: 4.95 → 5.21 (+5 %); without English, which was tuned on" in text
    assert "a model organism" in text
    assert "a model organism" not in spoken(replace(content(), toy_world=False))


def test_interval_that_holds_zero_is_not_called_a_difference() -> None:
    table = content().comparisons
    at = table.schema.get_field_index("ci_high")
    moved = table.set_column(at, table.schema.field(at), pc.if_else(pc.is_valid(table["ci_high"]), 0.1, None))
    text = spoken(replace(content(), comparisons=moved))
    assert "includes no change: this experiment does not show a difference." in text
    assert "excludes no change" not in text


def test_right_to_left_text_is_marked_so() -> None:
    assert f'<span lang="ar" dir="rtl">{ARABIC}</span>' in html(content())


def test_every_text_is_blurred_and_silent_at_first() -> None:
    buttons = re.findall(r'<button type="button" class="veil [^>]*>', html(content()))
    assert len(buttons) == 17 * 4  # a prompt and three completions that are not empty, per language
    assert all('aria-pressed="false"' in button and "aria-label" in button for button in buttons)


def test_unsupported_failed_and_skipped_are_counted() -> None:
    text = spoken(content())
    assert "3 rows of prompts could not be read and were skipped." in text
    assert "Hindi: 48 × the scorer does not know this language" in text
    assert "No input row was skipped." in spoken(replace(content(), skipped_rows={}))


def test_conventions_are_explained_by_name() -> None:
    assert "Convention paper computes what the scripts of Li, Yong and Bach (2024) compute" in spoken(
        content(convention="paper")
    )


@pytest.mark.parametrize("languages", [("fr",), ("hi",), ("ar", "en")])
def test_page_stands_for_few_languages_and_for_none_with_a_value(languages: tuple[str, ...]) -> None:
    text = spoken(content(languages=languages))
    assert ("there is no headline" in text) == (languages == ("hi",))


def test_experiment_without_a_tuned_model_still_shows_its_metrics() -> None:
    only = content()
    made = replace(only, compare=[], comparisons=only.comparisons.slice(0, 0), samples=(), validity=(), counts=())
    files = render(made)
    assert set(files) == {"index.html", "results.json"}
    assert "<details open><summary>Every metric" in files["index.html"].decode()


def test_means_of_different_languages_are_said_to_be_so() -> None:
    table = content().metrics
    odd = pc.and_(pc.equal(table["language"], "macro"), pc.equal(table["model"], "base"))
    at = table.schema.get_field_index("n")
    moved = table.set_column(at, table.schema.field(at), pc.if_else(odd, 15, table["n"]))
    assert "Before is the mean of 15 languages and after of 16" in spoken(replace(content(), metrics=moved))


def test_figure_file_is_well_formed_and_needs_nothing_else() -> None:
    root = ElementTree.fromstring(render(content())["figures/toxicity.svg"])
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "Average toxicity per language, base and detox"
    assert len(titles) == 1 + 18
    assert "Hindi: the scorer does not know this language" in titles


def test_figure_sorts_by_relative_reduction_with_the_mean_first_and_absent_languages_last() -> None:
    def row(name: str, before: float, after: float) -> FigureRow:
        return FigureRow(name, Reading(before, None, None), Reading(after, None, None))

    rows = [row("half", 0.8, 0.4), FigureRow("absent", None, None, "why"), row("tenth", 0.1, 0.01), row("zero", 0, 0)]
    figure = place(row("Mean", 0.45, 0.205), rows)
    assert [r.name for r in figure.rows] == ["Mean", "tenth", "half", "zero", "absent"]
    assert [r.change for r in figure.rows] == ["−54\u00a0%", "−90\u00a0%", "−50\u00a0%", "–", "–"]
    half = figure.rows[2]
    assert half.before is not None and half.after is not None
    assert half.after.x - figure.left == pytest.approx((half.before.x - figure.left) / 2, abs=0.02)
    assert figure.ticks[0].label == "0.0" and figure.ticks[-1].x == figure.right


def test_figure_of_nothing_but_zeros_has_an_axis() -> None:
    zero = Reading(0.0, 0.0, 0.0)
    figure = place(FigureRow("Mean", zero, zero), [])
    assert len(figure.ticks) > 1 and figure.rows[0].change == "–"


def test_numbers_are_written_for_people() -> None:
    assert (number(-0.25), number(0.25, 2, signed=True), number(-0.0001), number(None)) == (
        *("−0.250", "+0.25", "0.000", "–"),
    )
    assert interval(-0.5, 0.5, 1) == "[−0.5, 0.5]" and interval(None, 0.5) == ""
    assert (p_value(0.0004), p_value(0.04), p_value(None)) == ("< 0.001", "0.040", "–")
    assert [duration(s) for s in (8.24, 59.99, 75.2, 3725)] == ["8.2 s", "1 min 0 s", "1 min 15 s", "1 h 2 min"]
    assert visible("a\x00\ud800\n\u200d🤬") == "a\ufffd\ufffd\n\u200d🤬"


def test_lone_surrogate_breaks_neither_page_nor_json() -> None:
    sample = Sample("en", HOSTILE, [Completion("base", "\udfff", 0.1, OK)])
    assert render(replace(content(), samples=[sample], notes=["\udfff" + SCRIPT]))["index.html"]
