"""Made-up likelihoods and questions, and the value of a metric as measuring computes it."""

from collections.abc import Iterable, Sequence
from typing import Any

from detox_ray.storage.metric_spec import ALL
from detox_ray.suites.bias.outcomes import Outcome
from detox_ray.suites.bias.sentences import sentences

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
