"""Outcomes of answers to questions by convention: published numbers, and models whose bias is known."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bias_data import real
from bias_outcomes import Row, likelihood, question, value
from mbbq_rules import write_rules

from detox_ray.config.bias import BiasConfig
from detox_ray.storage.metric_spec import ALL
from detox_ray.suites.bias import BiasSet
from detox_ray.suites.bias.answer_rules import read_rules
from detox_ray.suites.bias.conventions import CORRECTED, NEPLENBROEK, BiasConvention
from detox_ray.suites.bias.questions import (
    Answer,
    biased_option,
    likeliest_answers,
    named_answers,
    prompt_id,
    question_outcomes,
    understood,
)
from detox_ray.suites.bias.tables import OTHER, TARGET, UNKNOWN

# Questions: a stub of five prompts around the kept rows of MBBQ.
PROMPTS = 5


def mbbq(language: str, subset: str) -> list[Row]:
    each = BiasConfig(sets=[{"name": "m", "source": "bbq", "dialect": "mbbq", "path": str(real("mbbq"))}]).sets[0]
    assert isinstance(each, BiasSet)
    rows = [row for row in each.read([language]).rows[language] if row["part"] == subset]
    if not rows:
        pytest.skip(f"{subset} is not here in {language}")
    return rows


def asked(rows: Sequence[Row], choose: Callable[[int, Row], int | None]) -> list[Answer]:
    """Answer every row under every prompt. ``choose``: from the frame's row, prompts inside, and the item."""
    answers = []
    for number, row in enumerate(rows):
        for prompt in range(PROMPTS):
            answers.append(Answer.choosing(row, choose(number * PROMPTS + prompt, row), prompt))
    return answers


def biases(answers: Sequence[Answer], convention: BiasConvention) -> tuple[float, float]:
    outcomes = list(question_outcomes(answers, Counter(), None, convention))
    return tuple(
        round(value(outcomes, f"bbq_bias_{condition}", convention=convention.name), 6)
        for condition in ("ambiguous", "disambiguated")
    )  # type: ignore[return-value]


def following(polarity: str) -> Callable[[int, Row], int | None]:
    """Answer as the stereotype has it."""
    return lambda _, row: biased_option(row, polarity)


@pytest.mark.parametrize(
    ("subset", "language", "cycling", "with_gaps"),
    [
        ("Sexual_orientation", "en", (-0.010417, 0.004861), (-0.028646, -0.004861)),
        ("Sexual_orientation", "nl", (-0.010417, 0.004861), (-0.028646, -0.004861)),
        ("Sexual_orientation", "es", (-0.010417, 0.004861), (-0.028646, -0.004861)),
        ("Sexual_orientation", "tr", (-0.010417, 0.004861), (-0.028646, -0.004861)),
        ("Gender_identity", "en", (-0.00476, 0.008015), (-0.030888, 0.014034)),
        ("Gender_identity", "nl", (-0.00476, 0.008015), (-0.030888, 0.014034)),
    ],
)
def test_the_authors_functions_give_the_same_on_real_rows(
    subset: str, language: str, cycling: tuple[float, float], with_gaps: tuple[float, float]
) -> None:
    rows = [row for row in mbbq(language, subset) if not row["control"]]
    assert biases(asked(rows, lambda number, row: number % 3), NEPLENBROEK) == pytest.approx(cycling, abs=2e-6)
    assert biases(asked(rows, following("ignored")), NEPLENBROEK) == (1.0, 0.5)
    assert biases(asked(rows, lambda number, row: row["label"]), NEPLENBROEK) == (0.0, 0.0)
    silent = asked(rows, lambda number, row: None if number % 5 == 0 else number % 3)
    assert biases(silent, NEPLENBROEK) == pytest.approx(with_gaps, abs=2e-6)
    assert value(question_outcomes(silent, Counter(), None, NEPLENBROEK), "undetected_share") == pytest.approx(
        0.2, abs=1e-3
    )
    cells = {
        (row.cluster, row.denominator)
        for row in question_outcomes(asked(rows, following("ignored")), Counter(), None, NEPLENBROEK)
        if row.metric == "bbq_bias_ambiguous" and row.part == ALL and row.convention == NEPLENBROEK.name
    }
    assert sum(prompts for _, prompts in cells) == {"Sexual_orientation": 30, "Gender_identity": 120}[subset]


@pytest.mark.parametrize("by", ["letter", "text"])
def test_answers_in_words_give_the_same_as_their_choices(by: str, tmp_path: Path) -> None:
    """Every fifth answer is empty, the others are a letter or an option's text."""
    rows = [row for row in mbbq("en", "Sexual_orientation") if not row["control"]]
    rules = read_rules(write_rules(tmp_path), ["en"])["en"]
    texts = []
    for number, (row, prompt) in enumerate((row, prompt) for row in rows for prompt in range(PROMPTS)):
        said = f"({'ABC'[number % 3]})" if by == "letter" else row["options"][number % 3]
        text = said if number % 5 else ""
        texts.append({"prompt_id": prompt_id(row["item_id"], prompt), "text": text, "finish_reason": "stop"})
    answers, statuses = named_answers(rows, texts, rules)
    assert biases(answers, NEPLENBROEK) == pytest.approx((-0.028646, -0.004861), abs=2e-6)
    assert statuses["undetected"] == len(texts) // 5


def test_a_model_that_follows_every_stereotype_is_found_only_if_polarity_counts() -> None:
    """The published score ignores polarity: half of the questions are negated, and such a model scores 0."""
    for subset, language in (("Sexual_orientation", "nl"), ("Gender_identity", "en")):
        rows = [row for row in mbbq(language, subset) if not row["control"]]
        perfect = asked(rows, following("aware"))
        assert biases(perfect, NEPLENBROEK) == pytest.approx((0.0, 0.0), abs=1e-9)
        assert biases(perfect, NEPLENBROEK.with_polarity("aware")) == (1.0, 0.5)
        assert biases(perfect, CORRECTED) == (1.0, 1.0)
        against = asked(rows, lambda _, row: _other(row))
        assert biases(against, CORRECTED) == (-1.0, -1.0)
        assert biases(against, NEPLENBROEK) == pytest.approx((0.0, 0.0), abs=1e-9)


def _other(row: Row) -> int | None:
    biased = biased_option(row, "aware")
    return (
        next((p for p, role in enumerate(row["roles"]) if role != UNKNOWN and p != biased), None)
        if biased is not None
        else None
    )


def test_a_model_that_always_says_unknown_or_a_has_no_bias_and_says_so_elsewhere() -> None:
    rows = [row for row in mbbq("en", "Gender_identity") if not row["control"]]
    silent = asked(rows, lambda _, row: row["roles"].index(UNKNOWN))
    outcomes = list(question_outcomes(silent, Counter(), None, CORRECTED))
    assert biases(silent, CORRECTED) == (0.0, 0.0)
    assert value(outcomes, "unknown_share") == 1.0
    assert (value(outcomes, "bbq_accuracy_ambiguous"), value(outcomes, "bbq_accuracy_disambiguated")) == (1.0, 0.0)
    first = list(question_outcomes(asked(rows, lambda *_: 0), Counter(), None, CORRECTED))
    assert abs(value(first, "bbq_bias_ambiguous", convention="corrected")) < 0.05
    assert value(first, "bbq_accuracy_disambiguated") == pytest.approx(1 / 3, abs=0.05)
    assert (value(first, "first_answer_share"), value(outcomes, "first_answer_share")) == (
        1.0,
        pytest.approx(1 / 3, abs=0.05),
    )


def test_templates_that_a_model_does_not_understand_are_left_out() -> None:
    roles = [TARGET, OTHER, UNKNOWN]
    items = [
        question(f"{template}{number}", template, roles, 0, "disambig", "neg", control=True)
        for template in ("known", "guessed")
        for number in range(3)
    ]
    answers = {
        "en": [
            Answer.choosing(item, 0 if item["cluster"] == "known" or item["item_id"] == "guessed0" else 1)
            for item in items
        ]
    }
    assert understood({"en": items}, answers) == {"known", "guessed"}  # one of three is above .33
    answers["nl"] = [Answer.choosing(item, 0 if item["cluster"] == "known" else 1) for item in items]
    assert understood({"en": items, "nl": items}, answers) == {"known"}
    assert understood({"en": []}, {"en": []}) is None  # no control questions: every template counts
    assert understood({"en": items}, {"en": []}) == set()  # none of them could be asked: no template is understood
    assert understood({"en": items}, {"en": answers["en"][3:]}) == {"guessed"}
    asked_items = [question(f"q{template}", template, roles, 2, "ambig", "neg") for template in ("known", "guessed")]
    outcomes = list(
        question_outcomes([Answer.choosing(item, 0) for item in asked_items], Counter(), {"known"}, CORRECTED)
    )
    clusters = {row.cluster for row in outcomes if row.metric == "bbq_bias_ambiguous"}
    assert clusters == {"known"}


@pytest.mark.parametrize("switch", ["cells", "diff_scale", "polarity", "undetected"])
def test_every_switch_of_questions_changes_the_number(switch: str) -> None:
    roles = [TARGET, OTHER, UNKNOWN]
    items = [
        question("a", "t", roles, 0, "disambig", "neg"),
        question("b", "t", roles, 1, "disambig", "neg"),
        question("c", "t", roles, 1, "disambig", "nonneg"),
        question("d", "t", roles, 1, "disambig", "neg"),
    ]
    answers = [
        Answer.choosing(items[0], 0, 0),
        Answer.choosing(items[1], 0, 0),
        Answer.choosing(items[2], 1, 1),
        Answer.choosing(items[3], 1, 1),
        Answer.choosing(items[0], 1, 1),
        Answer.choosing(items[1], None, 1),
    ]
    other = replace(CORRECTED, **{switch: getattr(NEPLENBROEK, switch)})

    def measured(convention: BiasConvention) -> float:
        outcomes = list(question_outcomes(answers, Counter(), None, convention))
        return value(outcomes, "bbq_bias_disambiguated", convention=convention.with_polarity(convention.polarity).name)

    assert measured(other) != measured(CORRECTED)


def test_the_likeliest_letter_is_the_answer_and_what_could_not_be_read_is_counted() -> None:
    items = [question(name, "t", [TARGET, OTHER, UNKNOWN], 2, "ambig", "neg") for name in ("a", "b")]
    rows = [likelihood("a", place, nll) for place, nll in enumerate((3.0, 1.0, 2.0))]
    rows += [{**likelihood("b", place, 1.0), "status": "too_long", "nll": None} for place in range(3)]
    answers, statuses = likeliest_answers(items, rows, "half")
    assert [(answer.item["item_id"], answer.shares) for answer in answers] == [("a", (0, 1, 0))]
    assert statuses == {"ok": 1, "too_long": 1}


def test_the_target_of_unclear_questions_is_dropped_and_counted() -> None:
    item: Mapping[str, Any] = question("a", "t", [OTHER, OTHER, UNKNOWN], 2, "ambig", "neg")
    assert biased_option(item, "aware") is None
    _, statuses = likeliest_answers([item], [likelihood("a", place, 1.0 + place) for place in range(3)], "half")
    assert statuses == {"target_unclear": 1}


def test_equally_likely_letters_are_no_choice_of_the_first() -> None:
    """In bfloat16 two letters often have the same likelihood, and the first of them is often the same group."""
    item = question("a", "t", [TARGET, OTHER, UNKNOWN], 1, "disambig", "neg")
    rows = [likelihood("a", place, nll) for place, nll in enumerate((1.0, 1.0, 2.0))]
    (half,), _ = likeliest_answers([item], rows, "half")
    (against,), _ = likeliest_answers([item], rows, "against")
    assert (half.shares, half.right) == ((0.5, 0.5, 0), 0.5)
    assert (against.shares, against.right) == ((0, 0, 0), 0)
    ambiguous = {**item, "condition": "ambig", "label": 2}
    outcomes = list(question_outcomes([half._replace(item=ambiguous)], Counter(), None, CORRECTED))
    assert value(outcomes, "bbq_bias_ambiguous", convention="corrected") == 0.0
    assert value(outcomes, "tie_share") == 1.0
