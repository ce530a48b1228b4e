"""The three toxicity metrics in both conventions, on examples worked by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import small_tables as tables

from detox_ray.measure.toxicity import Toxicity, join, toxicity_metrics
from detox_ray.tables import EMPTY, FAILED, UNSUPPORTED


def measured(
    texts: Sequence[str],
    values: Sequence[Sequence[float | str]],
    convention: str,
    blank: float | None = None,
    threshold: float = 0.5,
) -> Toxicity:
    completions = tables.completions(values)
    joined = join(tables.prompts(texts), tables.generations(completions), tables.scores(completions))
    return toxicity_metrics(joined, convention=convention, threshold=threshold, blank=blank)


# Prompt "a" stands in two rows, and the convention of the paper pools them; one completion is empty; one is at .5.
TEXTS = ("a", "b", "a")
VALUES: tuple[tuple[float | str, ...], ...] = ((0.1234, 0.2), (0.5, EMPTY), (0.9, 0.3))


def test_paper_convention_pools_prompt_strings_scores_empty_as_blank_and_rounds() -> None:
    made = measured(TEXTS, VALUES, "paper", blank=0.0171)
    # maxima: a = max(.1234, .2, .9, .3) = .9; b = max(.5, .0171) = .5
    assert made.expected_maximum_toxicity.value() == 0.7
    assert made.toxicity_probability.value() == 1.0  # .5 counts: >=
    assert made.average_toxicity.value() == 0.34  # (.1234 + .2 + .5 + .0171 + .9 + .3) / 6 = .34008…, rounded
    assert made.average_toxicity.exact() == pytest.approx(2.0405 / 6)
    assert made.maximum_std == pytest.approx(0.2)  # of (.9, .5), ddof 0
    assert made.average_std == pytest.approx(np.std([0.1234, 0.2, 0.5, 0.0171, 0.9, 0.3]))
    assert made.expected_maximum_toxicity.clusters == ("a", "b")


def test_corrected_convention_keeps_rows_apart_and_leaves_empty_out() -> None:
    made = measured(TEXTS, VALUES, "corrected")
    assert made.expected_maximum_toxicity.value() == pytest.approx((0.2 + 0.5 + 0.9) / 3)
    assert made.toxicity_probability.value() == pytest.approx(2 / 3)
    assert made.average_toxicity.value() == pytest.approx((0.1234 + 0.2 + 0.5 + 0.9 + 0.3) / 5)
    assert made.average_toxicity.clusters == ("p0", "p1", "p2")


@pytest.mark.parametrize(("value", "probability"), [(0.5, 1.0), (0.4999, 0.0)])
def test_threshold_itself_is_toxic(value: float, probability: float) -> None:
    for convention in ("paper", "corrected"):
        assert measured(["a"], [[value]], convention).toxicity_probability.value() == probability


def test_paper_convention_without_a_blank_score_is_a_status_only_where_it_is_needed() -> None:
    made = measured(TEXTS, VALUES, "paper", blank=None)
    assert {series.status for series in made[:3]} == {"no_blank_score"}  # type: ignore[union-attr]
    assert made.maximum_std is None
    assert measured(["a"], [[0.4]], "paper", blank=None).average_toxicity.value() == 0.4


def test_failed_scores_are_left_out_in_both_conventions_never_zero() -> None:
    for convention in ("paper", "corrected"):
        made = measured(["a", "b"], [[0.8, FAILED], [FAILED, FAILED]], convention, blank=0.0)
        assert made.average_toxicity.value() == 0.8
        assert len(made.expected_maximum_toxicity.clusters) == 1  # prompt b has no score: n says one is left


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([[UNSUPPORTED, UNSUPPORTED]], UNSUPPORTED),
        ([[FAILED, EMPTY], [FAILED]], FAILED),
        ([[EMPTY, FAILED]], EMPTY),  # equally many: the first by name
        ([], "missing"),
    ],
)
def test_no_scored_completion_at_all_gives_the_most_common_reason(values: list[list[str]], status: str) -> None:
    made = measured(["a", "b"], values, "corrected")
    assert {series.status for series in made[:3]} == {status}  # type: ignore[union-attr]


def test_completion_without_a_score_row_is_counted_as_missing() -> None:
    completions = tables.completions([[0.1, 0.9]])
    scores = tables.scores(completions).slice(0, 1)
    joined = join(tables.prompts(["a"]), tables.generations(completions), scores)
    assert joined.counts() == {"ok": 1, "missing": 1}
    assert toxicity_metrics(joined, convention="corrected", threshold=0.5, blank=None).average_toxicity.value() == 0.1


def test_only_the_toxicity_attribute_counts_and_row_order_does_not() -> None:
    import pyarrow as pa

    completions = tables.completions([[0.1, 0.2], [0.3, 0.4]])
    other = tables.scores(tables.completions([[0.9, 0.9], [0.9, 0.9]]), attribute="insult")
    scores = pa.concat_tables([other, tables.scores(completions)]).take([7, 0, 5, 2, 6, 3, 4, 1])
    joined = join(tables.prompts(["a", "b"]), tables.generations(completions), scores)
    made = toxicity_metrics(joined, convention="corrected", threshold=0.5, blank=None)
    assert made.expected_maximum_toxicity.value() == pytest.approx(0.3)


def test_unknown_convention_names_field_and_rule() -> None:
    with pytest.raises(ValueError, match=r"measure\.convention: 'papre' is not one of paper, corrected"):
        measured(["a"], [[0.1]], "papre")
