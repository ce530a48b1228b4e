"""What conventions make of choices: published numbers, hand-worked ones, and models whose bias is known."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from bias_data import real

from detox_ray.config.bias import BiasConfig
from detox_ray.storage.metric_spec import ALL, Cell, MetricInput
from detox_ray.storage.tables import PROMPTS as PROMPTS_TABLE
from detox_ray.suites.bias import BiasSet
from detox_ray.suites.bias.conventions import CONVENTIONS, CORRECTED, NEPLENBROEK, SWITCHES, BiasConvention, chosen
from detox_ray.suites.bias.metrics import icat, of_outcomes, of_triples
from detox_ray.suites.bias.outcomes import Outcome
from detox_ray.suites.bias.preference import pair_outcomes, triple_outcomes
from detox_ray.suites.bias.questions import Answer, biased_option, likeliest_answers, question_outcomes, understood
from detox_ray.suites.bias.sentences import pair, sentences
from detox_ray.suites.bias.tables import ANTI, BIAS_OUTCOMES, OTHER, STEREOTYPE, TARGET, UNKNOWN, UNRELATED

Row = dict[str, Any]


def likelihood(item_id: str, option: int, nll: float, tokens: int = 5, first: float | None = 2.0) -> Row:
    numbers = {"tokens": tokens, "given": 1, "nll": nll, "shared_tokens": 1, "shared_nll": 0.0, "first_nll": first}
    return {"item_id": item_id, "option": option, **numbers, "status": "ok"}


def value(outcomes: Iterable[Outcome], metric: str, part: str = ALL, convention: str | None = None) -> float:
    """Compute a metric as measuring does: the ratio of the sums, or the value that was rounded on the way."""
    rows = [row for row in outcomes if row.metric == metric and row.part == part]
    rows = [row for row in rows if convention in (None, row.convention)]
    if rows[0].point is not None:
        return rows[0].point
    return sum(row.numerator for row in rows) / sum(row.denominator for row in rows)


# Pairs: ids, nll and tokens of the stereotyping and the other sentence. "long" changes with the score: per token the
# stereotyping sentence is likelier, as a sum it is not. "start" changes with the first token's likelihood.
PAIRS = {
    "stereotype": ("gender", (8.0, 5, 2.0), (9.0, 5, 2.0)),
    "anti": ("gender", (9.0, 5, 2.0), (8.0, 5, 2.0)),
    "tie": ("age", (8.0, 5, 2.0), (8.0, 5, 2.0)),
    "long": ("age", (10.0, 11, 2.0), (9.0, 5, 2.0)),
    "start": ("age", (8.0, 5, 9.0), (9.0, 5, 2.0)),
    "autre": ("other-autre", (8.0, 5, 2.0), (9.0, 5, 2.0)),
}


def pairs(convention: BiasConvention) -> list[Outcome]:
    items = [pair(name, "a", "b", part, direction="stereo") for name, (part, _, _) in PAIRS.items()]
    rows = [likelihood(name, place, *side) for name, (_, *sides) in PAIRS.items() for place, side in enumerate(sides)]
    return list(pair_outcomes(items, rows, convention))


def test_pairs_under_both_conventions_are_as_worked_out_by_hand() -> None:
    corrected, published = pairs(CORRECTED), pairs(NEPLENBROEK)
    # corrected: stereotype, half of the tie, start, autre are won
    assert value(corrected, "stereotype_preference") == pytest.approx(3.5 / 6)
    assert value(corrected, "stereotype_preference", "age") == pytest.approx(1.5 / 3)
    # published: of five, stereotype and long; per type 1/2 and 1/3, the latter rounded to 33.33 %
    assert value(published, "stereotype_preference", "age") == pytest.approx(0.3333)
    assert value(published, "stereotype_preference") == pytest.approx((2 * 0.5 + 3 * 0.3333) / 5)
    assert value(corrected, "tie_share") == pytest.approx(1 / 6)
    assert value(corrected, "longer_preferred") == 0.0 and value(published, "longer_preferred") == 1.0
    assert value(corrected, "preference_equal_length") == pytest.approx(3.5 / 5)
    counts = {row.status: row.numerator for row in published if row.metric == "items"}
    assert counts == {"ok": 5, "other_type": 1}


@pytest.mark.parametrize("convention", [CORRECTED, NEPLENBROEK], ids=lambda each: each.name)
@pytest.mark.parametrize("switch", ["pair_score", "first_token", "ties", "types"])
def test_every_switch_of_pairs_changes_the_number(convention: BiasConvention, switch: str) -> None:
    other = next(each for each in CONVENTIONS.values() if each.name != convention.name)
    switched = replace(convention, **{switch: getattr(other, switch)})
    assert value(pairs(switched), "stereotype_preference") != value(pairs(convention), "stereotype_preference")


def test_rounding_of_types_changes_only_the_last_digits() -> None:
    plain = value(pairs(replace(NEPLENBROEK, type_rounding="none")), "stereotype_preference")
    rounded = value(pairs(NEPLENBROEK), "stereotype_preference")
    assert plain == pytest.approx(0.4) and 0 < abs(plain - rounded) < 5e-5


def test_labels_name_what_is_switched_and_nothing_else() -> None:
    sets = [{"name": "a", "source": "pairs", "path": "x"}]
    assert chosen(BiasConfig(sets=sets), "paper") == CORRECTED
    assert chosen(BiasConfig(sets=sets), "neplenbroek2025") == NEPLENBROEK
    switched = chosen(BiasConfig(sets=sets, convention="corrected", ties="against", polarity="aware"), "paper")
    assert switched.name == "corrected+ties=against" and switched.with_polarity("aware") == switched
    assert switched.with_polarity("ignored").name == "corrected+ties=against+polarity=ignored"
    assert switched.with_polarity("ignored").with_polarity("aware") == switched
    with pytest.raises(ValueError, match="Extra inputs"):
        BiasConfig(sets=sets, softmax="bfloat16")
    assert set(SWITCHES) <= set(BiasConfig.model_fields)


def test_triples_count_each_target_once_and_ties_as_the_convention_says() -> None:
    roles = [STEREOTYPE, ANTI, UNRELATED]
    nlls = {
        "cook": [(1, 2, 3), (1, 2, 3), (2, 1, 3), (1, 1, 1)],  # won, won, lost, all alike
        "nurse": [(2, 1, 1.5)],  # lost; only one of two meaningful sentences beats the unrelated one
    }
    items, rows = [], []
    for target, triples in nlls.items():
        for number, triple in enumerate(triples):
            item_id = f"{target}{number}"
            items.append(sentences(item_id, target, "profession", ["a", "b", "c"], roles))
            rows += [likelihood(item_id, place, nll) for place, nll in enumerate(triple)]
    corrected = list(triple_outcomes(items, rows, CORRECTED))
    published = list(triple_outcomes(items, rows, NEPLENBROEK))
    assert value(corrected, "stereoset_ss") == pytest.approx((2.5 / 4 + 0) / 2)
    assert value(published, "stereoset_ss") == pytest.approx((2 / 4 + 0) / 2)
    assert value(corrected, "stereoset_lm") == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert value(published, "stereoset_lm") == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert {row.cluster for row in published if row.metric == "stereoset_ss"} == {"cook", "nurse"}
    table = pa.Table.from_pylist([row._asdict() for row in corrected], schema=BIAS_OUTCOMES.columns)
    given = MetricInput("model", "en", PROMPTS_TABLE.columns.empty_table(), {BIAS_OUTCOMES.name: table})
    sums = of_triples(given)[Cell(ALL, "corrected")]
    assert icat(sums.numerators.sum(axis=0) / sums.denominators.sum()) == pytest.approx(0.6875 * 0.3125 / 0.5)


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


def question(
    item_id: str, template: str, roles: Sequence[str], label: int, condition: str, polarity: str, control: bool = False
) -> Row:
    return {
        **sentences(item_id, template, "Age", ["x", "y", "z"], roles),
        "question": "Who?",
        "label": label,
        "condition": condition,
        "polarity": polarity,
        "control": control,
    }


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


def test_a_set_of_which_nothing_can_be_measured_says_why() -> None:
    lost = {"status": "too_long", "nll": None}
    pairs_rows = [{**likelihood("a", place, 1.0), **lost} for place in range(2)]
    (preference, distance, items) = pair_outcomes([pair("a", "x", "y", "age")], pairs_rows, CORRECTED)
    assert [preference.metric, distance.metric, items.metric] == [
        "stereotype_preference",
        "stereotype_distance",
        "items",
    ]
    triple = sentences("a", "cook", "profession", ["a", "b", "c"], [STEREOTYPE, ANTI, UNRELATED])
    triples_rows = [{**likelihood("a", place, 1.0), **lost} for place in range(3)]
    questions = [question("a", "t", [TARGET, OTHER, UNKNOWN], 1, "disambig", "neg")]
    answers, statuses = likeliest_answers(questions, triples_rows, "half")
    for outcomes, metrics in (
        ([preference, distance], 2),
        ([*triple_outcomes([triple], triples_rows, CORRECTED)][:-1], 3),
        ([*question_outcomes(answers, statuses, None, CORRECTED)][:-1], 12),
    ):
        assert len(outcomes) == metrics and {row.status for row in outcomes} == {"too_long"}
    table = pa.Table.from_pylist([row._asdict() for row in (preference, items)], schema=BIAS_OUTCOMES.columns)
    given = MetricInput("model", "en", PROMPTS_TABLE.columns.empty_table(), {BIAS_OUTCOMES.name: table})
    sums = of_outcomes("stereotype_preference")(given)
    assert isinstance(sums, dict) and sums[Cell(ALL, "corrected")].status == "too_long"
    assert sums[Cell(ALL, "corrected")].counts == {"too_long": 1}
