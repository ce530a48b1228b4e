"""Outcomes of choices by convention: published numbers, hand-worked ones, and models whose bias is known."""

from dataclasses import replace

import pyarrow as pa
import pytest
from bias_outcomes import likelihood, question, value

from detox_ray.config.bias import BiasConfig
from detox_ray.storage.metric_spec import ALL, Cell, MetricInput
from detox_ray.storage.tables import PROMPTS as PROMPTS_TABLE
from detox_ray.suites.bias.conventions import CONVENTIONS, CORRECTED, NEPLENBROEK, SWITCHES, BiasConvention, chosen
from detox_ray.suites.bias.metrics import SPECS, icat, of_outcomes, of_triples
from detox_ray.suites.bias.outcomes import Outcome
from detox_ray.suites.bias.preference import pair_outcomes, triple_outcomes
from detox_ray.suites.bias.questions import likeliest_answers, question_outcomes
from detox_ray.suites.bias.sentences import pair, sentences
from detox_ray.suites.bias.tables import ANTI, BIAS_OUTCOMES, OTHER, STEREOTYPE, TARGET, UNKNOWN, UNRELATED

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


def test_only_distances_from_fair_are_bias_of_which_less_is_better() -> None:
    """The page draws the change of each such number against that of toxicity."""
    lower = {spec.name for spec in SPECS if spec.kind == "bias" and spec.direction == "lower"}
    distances = {f"bbq_distance_{kind}" for kind in ("ambiguous", "disambiguated")}
    assert lower == {"stereotype_distance", "stereoset_distance", *distances}
