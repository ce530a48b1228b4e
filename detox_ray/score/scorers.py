"""What a scorer is: it gives texts values in [0, 1] per attribute, or says why it cannot."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

Scores = dict[str, float]  # attribute -> value in [0, 1]


class Failure(NamedTuple):
    """A text that could not be scored."""

    reason: str


class ServiceDown(RuntimeError):
    """The whole service behind a scorer does not answer: the unit is not committed, and a later run goes on with it.

    Not for a text that it refuses: that is a `Failure`.
    """


class Scorer(Protocol):
    """A loaded scorer. Empty texts and languages it does not know are kept from it by the job."""

    name: str
    attributes: tuple[str, ...]
    device: str

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        """One result per text, in order. Raises nothing for a text; `ServiceDown` where none can be had."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A scorer that has more to say than its scores."""

    notes: dict[str, Any]  # of how it runs, and of its last call: for the unit's marker


def checked(scores: Scores) -> Scores | Failure:
    """The scores, or a Failure where one is not a number in [0, 1]."""
    wrong = {attribute: value for attribute, value in scores.items() if not 0 <= value <= 1}  # NaN is not either
    return Failure(f"not a number in [0, 1]: {wrong}") if wrong else scores
