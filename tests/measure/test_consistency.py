"""Language consistency, drift to English, and the pass rates by lines and words, counted by hand."""

import pytest
import small_tables as tables

from detox_ray.measure.consistency import consistency_metrics, metrics_of
from detox_ray.storage.tables import EMPTY, FAILED, TOO_SHORT

FOUND = [["ru", "en", "en"], ["ru", TOO_SHORT, "und"], [EMPTY, FAILED, TOO_SHORT]]
LINES = [[(2, 0), (2, 1), (1, 1)], [(1, 0), (1, 0), (0, 0)], [(0, 0), (3, 0), (0, 0)]]
WORDS = [[False, True, True], [True, False, False], [False, True, False]]


def test_shares_are_of_the_completions_that_could_be_judged() -> None:
    made = consistency_metrics(tables.identifications(FOUND, LINES, WORDS), "ru", "list")
    values = {metric: series.value() for metric, series in made.series.items()}
    assert values == {
        "language_consistency": pytest.approx(2 / 5),  # ru ru of ru en en ru und
        "english_drift": pytest.approx(2 / 5),
        "line_pass_rate": pytest.approx(3 / 5),  # five have a long line; two of them a wrong one
        "word_pass_rate": pytest.approx(2 / 3),  # of the three that pass by lines, one has an English word
    }
    assert made.series["language_consistency"].clusters == ("p0", "p1")
    assert made.counts == {"ok": 5, "too_short": 2, "empty": 1, "failed": 1}


def test_a_language_has_only_the_metrics_that_make_sense_for_it() -> None:
    assert metrics_of("en", "list") == ("language_consistency", "line_pass_rate")
    assert metrics_of("fr", "list") == ("language_consistency", "english_drift", "line_pass_rate")
    assert "word_pass_rate" in metrics_of("ja", "list") and "word_pass_rate_script" in metrics_of("ja", "script")
    made = consistency_metrics(tables.identifications([["en", "de"]]), "en", "list")
    assert tuple(made.series) == metrics_of("en", "list") and made.series["language_consistency"].value() == 0.5


def test_a_share_of_nothing_has_its_reason() -> None:
    short = consistency_metrics(tables.identifications([[TOO_SHORT, TOO_SHORT, EMPTY]]), "ru", "list").series
    assert {series.status for series in short.values()} == {TOO_SHORT}
    no_lines = consistency_metrics(tables.identifications([["ru"]]), "ru", "list").series
    assert no_lines["language_consistency"].value() == 1.0
    assert no_lines["line_pass_rate"].status == no_lines["word_pass_rate"].status == "no_long_lines"
    dirty = consistency_metrics(tables.identifications([["ru"]], [[(2, 1)]]), "ru", "list").series
    assert dirty["line_pass_rate"].value() == 0.0 and dirty["word_pass_rate"].status == "none_passed"
