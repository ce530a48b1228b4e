"""The interface of a loaded scorer, which gives each text a value in [0, 1] per attribute, or a reason for failure."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

Scores = dict[str, float]  # attribute -> value in [0, 1]


class Failure(NamedTuple):
    """A text that could not be scored."""

    reason: str


class ServiceDown(RuntimeError):
    """The service behind a scorer does not answer. The unit is not committed, so that a later run makes it.

    A text that the service rejects is a `Failure` instead.
    """


class Scorer(Protocol):
    """A loaded scorer. It is never called for a language that it does not know."""

    name: str
    attributes: tuple[str, ...]
    device: str

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        """Return a result for each text, in order. Raises ServiceDown if no text can be scored now."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A scorer that records how it computes its scores."""

    notes: dict[str, Any]  # facts on how it runs and on its last call, for the unit's marker


def checked(scores: Scores) -> Scores | Failure:
    """Return the scores, or a Failure if one is not a number in [0, 1]."""
    wrong = {attribute: value for attribute, value in scores.items() if not 0 <= value <= 1}  # NaN is wrong, too
    return Failure(f"not a number in [0, 1]: {wrong}") if wrong else scores
