"""Conventions as named sets of choices: what each published one chooses, and what a switch does to it."""

from typing import get_args

import pytest

from detox_ray.config import MeasureConfig
from detox_ray.measure.conventions import CONVENTIONS, CORRECTED, NEPLENBROEK, PAPER, SWITCHES, Convention, chosen


def test_each_convention_of_the_config_exists_and_no_other() -> None:
    assert set(CONVENTIONS) == set(get_args(MeasureConfig.model_fields["convention"].annotation))


def test_every_switch_of_the_config_is_a_choice_and_null_changes_nothing() -> None:
    choices = set(MeasureConfig.model_fields) & set(Convention.__dataclass_fields__)
    assert choices == set(SWITCHES)  # docs/papers.md, "Choices of a convention": four on toxicity, two on fluency, …
    for name, convention in CONVENTIONS.items():
        assert chosen(name, dict.fromkeys(choices)) == convention


def test_changed_switches_are_set_and_named_and_unchanged_ones_are_not() -> None:
    made = chosen("paper", {"empty": "skip", "pooling": "string", "perplexity_cap": 500.0, "wrong_language": None})
    assert made.name == "paper+empty=skip+perplexity_cap=500"
    assert (made.empty, made.perplexity_cap, made.pooling, made.decimals) == ("skip", 500.0, "string", 3)
    assert PAPER.empty == "blank"


def test_large_cap_keeps_its_digits_in_the_name() -> None:
    assert chosen("paper", {"perplexity_cap": 1234567.0}).name == "paper+perplexity_cap=1234567"


def test_published_conventions_differ_where_the_papers_do() -> None:
    assert (PAPER.pooling, NEPLENBROEK.pooling, CORRECTED.pooling) == ("string", "row", "row")
    assert (PAPER.empty, NEPLENBROEK.empty, CORRECTED.empty) == ("blank", "zero", "skip")
    assert [c.wrong_language for c in (PAPER, NEPLENBROEK, CORRECTED)] == ["count", "zero", "count"]


def test_unknown_convention_or_switch_names_field_and_rule() -> None:
    with pytest.raises(ValueError, match=r"measure\.convention: 'papre' is not one of paper, neplenbroek2025, correct"):
        chosen("papre", {})
    with pytest.raises(ValueError, match=r"measure\.pool: no such choice"):
        chosen("paper", {"pool": "row"})
    with pytest.raises(ValueError, match=r"measure\.decimals: no such choice"):  # the papers' own, not for users
        chosen("paper", {"decimals": 2})
