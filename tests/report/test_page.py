"""The page as text: what is said, what is escaped, what each kind of experiment shows."""

import re
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from small_experiment import HOSTILE, NO_EVIDENCE, SCRIPT, content

from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.report import ReportContent
from detox_ray.report.labels import (
    STATUSES,
    duration,
    interval,
    number,
    p_value,
    signed_points,
    visible,
)
from detox_ray.report.page import index, own_rows
from detox_ray.report.published import metrics as published_metrics
from detox_ray.storage.tables import OK


def html(made: ReportContent) -> str:
    return index(made, {}).decode("utf-8")


def spoken(made: ReportContent) -> str:
    """The page's words without tags and data, white space collapsed."""
    text = re.sub(r"<(style|script)\b[^>]*>.*?</\1>", "", html(made), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def test_hostile_text_is_escaped_wherever_it_comes_from() -> None:
    text = html(content())
    assert "<script>document" not in text and "<img" not in text
    assert text.count("<script>") == 1 and text.count("<script") == 2  # the page's own, and the explorer's data
    assert text.count("</script>") == 2
    assert text.count("&lt;script&gt;document") >= 3  # note, settings, manifest
    assert "toy17 &lt;b&gt;demo&lt;/b&gt;" in text
    assert "{{ 7*7 }}" in text  # text is data, never a template
    assert "\x00" not in text and "\x9b" not in text and "\ufffd" in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = html(content())
    assert not re.search(r"(?:src|href)=\"(?!data:,|#|tables/|figures/|results\.json)", text)
    assert "url(" not in text and "@import" not in text and " style=" not in text
    assert re.search(r"default-src &#39;none&#39;.*script-src &#39;sha256-", text)


def test_every_link_inside_the_page_has_its_target() -> None:
    text = html(content())
    targets = set(re.findall(r"id=\"([^\"]+)\"", text))
    assert set(re.findall(r"href=\"#([^\"]+)\"", text)) <= targets
    assert len(re.findall(r"id=\"([^\"]+)\"", text)) == len(targets)


def test_headline_says_numbers_scorer_convention_verdict_and_who_is_left_out() -> None:
    text = spoken(content())
    assert "mean of 15 languages." in text
    assert "Left out of the mean: Hindi (the scorer does not know this language)." in text
    assert "Left out of the mean: Korean (nothing shows that the scorer works in this language)." in text
    assert "Scorer detoxify , convention corrected" in text
    assert re.search(r"interval of the difference, \[−0\.\d+, −0\.\d+\], excludes no change: toxicity fell\.", text)
    assert (
        "perplexity of harmless text, mean of 17 languages: 4." in text and "without English, which was tuned" in text
    )
    assert "a model organism" in text
    assert "a model organism" not in spoken(replace(content(), toy_world=False))


def test_interval_that_holds_zero_is_not_called_a_difference() -> None:
    table = content().comparisons
    at = table.schema.get_field_index("ci_high")
    moved = table.set_column(at, table.schema.field(at), pc.if_else(pc.is_valid(table["ci_high"]), 0.1, None))
    text = spoken(replace(content(), comparisons=moved))
    assert "includes no change: this experiment does not show a difference." in text
    assert "excludes no change" not in text


def test_language_without_evidence_is_shown_with_a_dagger_and_significance_with_an_asterisk() -> None:
    text = html(content())
    assert re.search(r'<th scope="row">Korean&nbsp;<abbr title="left out of the mean">†</abbr></th>', text)
    table = text[text.index("Every metric in every language") :]
    assert re.search(r">−\d+\u00a0%\u00a0\*<", table)
    none = content().comparisons
    for column in ("p_value", "p_corrected"):
        at = none.schema.get_field_index(column)
        none = none.set_column(at, none.schema.field(at), pc.if_else(pc.is_valid(none[column]), 0.2, None))
    assert "\u00a0*<" not in html(replace(content(), comparisons=none))


def test_other_conventions_are_shown_beside_and_are_not_in_the_headline() -> None:
    made = content()
    assert "Under convention neplenbroek2025" in spoken(made)
    odd = pc.equal(made.comparisons["convention"], "neplenbroek2025")
    alone = replace(made, comparisons=made.comparisons.filter(pc.invert(odd)))
    assert "Under convention" not in spoken(alone)
    one, other = spoken(made), spoken(alone)
    assert one[: one.index("Under convention")] == other[: one.index("Under convention")]


def test_conventions_corrections_and_intervals_are_explained_by_name() -> None:
    text = spoken(content(convention="paper+empty=skip"))
    assert "Convention paper+empty=skip computes what the scripts of Li, Yong and Bach (2024) compute" in text
    assert "with the settings after the plus sign changed" in text
    assert "each prompt row counts once" in text and "n − 1 tokens" in text
    text = spoken(replace(content(), correction="benjamini-hochberg", interval="bca"))
    assert "p (Benjamini–Hochberg)" in text and "bias-corrected and accelerated (BCa) bootstrap" in text


def test_unsupported_failed_and_skipped_are_counted() -> None:
    text = spoken(content())
    assert "3 rows of prompts could not be read and were skipped." in text
    assert "Hindi: 48 × the scorer does not know this language" in text
    assert "No input row was skipped." in spoken(replace(content(), skipped_rows={}))


def test_validity_and_agreement_have_a_reason_where_they_have_no_number() -> None:
    text = spoken(content())
    assert "detoxify against truth: toy17" in text and "0.930 [0.910, 0.950]" in text
    assert "Korean too few texts 2 of 60" in text
    assert "Hindi no text was scored by both 0" in text
    assert "Can the scorers be believed?" not in spoken(replace(content(), validity=(), agreement=()))


def test_own_results_are_summarised_as_the_papers_do() -> None:
    made = content()
    (metric,) = [at for at, name in enumerate(published_metrics(made.described)) if name == "average_toxicity"]
    of = {
        row["language"]: row["value"]
        for row in made.metrics.to_pylist()
        if (row["metric"], row["model"], row["scorer"]) == ("average_toxicity", "base", made.primary)
        and row["convention"] == made.convention
        and row["in_macro"]
        and row["value"] is not None
    }
    others = [value for code, value in of.items() if code not in ("en", "macro")]
    shown = {row.mean_of: row.numbers[metric] for row in own_rows(made) if row.model == "base"}
    assert shown == {
        "all languages": f"{of['macro']:.3f}",
        "English": f"{of['en']:.3f}",
        "languages other than English": f"{np.mean(others):.3f} ± {np.std(others):.3f}",
    }


def test_published_results_are_marked_and_stand_beside_the_runs_own() -> None:
    text = spoken(content())
    assert "published Li, Yong and Bach 2024 mGPT 0.502 → 0.157 0.468 → 0.039 0.121 → 0.028 18.74 → 23.68" in text
    assert "published Neplenbroek et al. 2025 Aya 23 0.541 ± 0.066" in text
    assert re.search(r"this run, all languages detox 0\.\d{3}", text)
    causal = replace(content(), evaluators=())  # then no perplexity compares with the paper's
    row = re.search(r"this run, all languages detox ([^a-z]*)", spoken(causal))
    assert row is not None and row[1].split()[3] == "–"


@pytest.mark.parametrize("languages", [("fr",), ("hi",), (NO_EVIDENCE,), ("ar", "en")])
def test_page_stands_for_few_languages_and_for_none_with_a_value(languages: tuple[str, ...]) -> None:
    text = spoken(content(languages=languages))
    assert ("there is no headline" in text) == (languages[0] in ("hi", NO_EVIDENCE))
    assert ("Sorted by relative reduction." in text) == (languages != ("hi",))  # values without evidence are drawn


def test_experiment_without_a_tuned_model_still_shows_its_metrics() -> None:
    only = content()
    made = replace(only, compare=[], comparisons=only.comparisons.slice(0, 0), samples=(), validity=(), counts=())
    assert "<details open><summary>Every metric" in html(made)
    assert "explorer-data" not in html(made)


def test_means_of_different_languages_are_said_to_be_so() -> None:
    table = content().metrics
    odd = pc.and_(pc.equal(table["language"], "macro"), pc.equal(table["model"], "base"))
    at = table.schema.get_field_index("n")
    moved = table.set_column(at, table.schema.field(at), pc.if_else(odd, 14, table["n"]))
    text = spoken(replace(content(), metrics=moved))
    assert "Before is the mean of 14 languages and after of 15" in text
    # beside every other metric's mean, too
    assert re.search(r"\(means of 14 and \d+ languages; over the \d+ that both have, the change is [^)]+\)", text)
    assert "that both have" not in spoken(content())


def test_numbers_are_written_for_people() -> None:
    assert (number(-0.25), number(0.25, 2, signed=True), number(-0.0001), number(None)) == (
        *("−0.250", "+0.25", "0.000", "–"),
    )
    assert interval(-0.5, 0.5, 1) == "[−0.5, 0.5]" and interval(None, 0.5) == ""
    assert (p_value(0.0004), p_value(0.04), p_value(None)) == ("< 0.001", "0.040", "–")
    assert [signed_points(x) for x in (0.0321, -0.2, 0.0)] == ["+3.2\u00a0pp", "−20.0\u00a0pp", "0.0\u00a0pp"]
    assert [duration(s) for s in (8.24, 59.99, 75.2, 3725)] == ["8.2 s", "1 min 0 s", "1 min 15 s", "1 h 2 min"]
    assert visible("a\x00\ud800\n\u200d🤬") == "a\ufffd\ufffd\n\u200d🤬"
    assert {"too_short", "no_identification", "no_evidence", "too_few", "one_class"} <= STATUSES.keys()


def test_lone_surrogate_breaks_the_page_nowhere() -> None:
    sample = ExplorerPrompt("en", "en-\udfff", HOSTILE, [ExplorerCompletion("base", 0, "\udfff", 0.1, OK)])
    assert "\ufffd" in html(replace(content(), samples=[sample], notes=["\udfff" + SCRIPT]))
