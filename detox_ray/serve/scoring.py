"""The scorers and the language identifier behind a Ray Serve deployment; texts that come at once make one batch."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.config import ScoringConfig
from detox_ray.score import ResolvedScorer
from detox_ray.store import Store


class Text(NamedTuple):
    """A text to be scored."""

    text: str
    language: str  # its, as the scorer is told
    scorer: str


class Scored(NamedTuple):
    """What a scorer says of a text; no value but under the status "ok"."""

    values: dict[str, float]  # attribute -> value in [0, 1]; empty unless ok
    status: str  # "ok", "empty", "unsupported_language", "failed"
    reason: str | None = None  # why it failed


class Detected(NamedTuple):
    """The language that a text is in."""

    language: str | None  # a code, or "und"; None where there are too few letters to tell
    confidence: float | None


class Scoring:
    """Holds all scorers that are served, and the identifier."""

    def __init__(
        self,
        scorers: Sequence[ResolvedScorer],
        identifier: str | None,
        fasttext: str | None,
        config: ScoringConfig,
        store: Store,
    ):
        self._scorers = list(scorers)

    async def score(self, text: Text) -> Scored:
        """Of one text by one scorer; Ray Serve puts what comes at once into one batch."""
        raise NotImplementedError

    async def detect(self, text: str) -> Detected:
        raise NotImplementedError
