"""The scoring deployment: scorers and the language identifier. Texts that arrive together form one batch.

Statuses (`detox_ray.score.cached_scorer`), derived scorers (`detox_ray.score.derived_scorers`) and language
identification (`detox_ray.score.identify`) are the same as in a run. Each scorer has its own queue and thread, so that
a slow one, such as a service over the network, does not delay the others.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from detox_ray.cluster import keep_replica_on_loopback
from detox_ray.config import ScoreConfig, ScoringConfig
from detox_ray.score import ResolvedScorer, identifiers, load
from detox_ray.score.derived_scorers import Column, Derivation
from detox_ray.score.identify import UNDETERMINED, enough_letters, label
from detox_ray.score.scorers import Failure, Scorer, Scores
from detox_ray.serve.workers.text_batches import TextBatches
from detox_ray.storage import Store
from detox_ray.storage.tables import EMPTY, FAILED, OK, TOO_SHORT, UNSUPPORTED

OFF = "off"  # the service has no language identifier
BATCH_TOKENS = int(ScoreConfig.model_fields["batch_tokens"].default)

log = logging.getLogger("ray.serve")


class TextScore(NamedTuple):
    """One scorer's result for a text. It has values only if the status is "ok"."""

    values: dict[str, float]  # attribute -> value in [0, 1]; empty unless the status is "ok"
    status: str  # "ok", "empty", "unsupported_language", "failed"
    reason: str | None = None  # why it failed


class DetectedLanguage(NamedTuple):
    """The language of a text."""

    language: str | None  # a code, or "und"; None unless the status is "ok"
    confidence: float | None
    status: str  # "ok", "too_short", "empty", "failed", "off"
    guess: str | None = None  # the most likely language, even if unlikely; None without letters or identifier


class Judgement(NamedTuple):
    """The language and the scores of a text."""

    detected: DetectedLanguage
    scores: dict[str, TextScore]  # scorer -> result


class ScorerCard(NamedTuple):
    """The attributes and languages that a scorer supports."""

    name: str
    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # languages for which it has evidence; None: all


class ScoreQuery(NamedTuple):
    """A text for a scorer without members, in a language that the scorer supports."""

    text: str
    language: str


ScoreOne = Callable[[ScoreQuery], Coroutine[Any, Any, TextScore]]


class ScoringReplica:
    """A replica with all served scorers, the members of derived ones, and the language identifier."""

    def __init__(
        self,
        scorers: Sequence[ResolvedScorer],
        identifier: str | None,
        fasttext: str | None,
        config: ScoringConfig,
        store: Store,
    ):
        keep_replica_on_loopback()
        self._served = {scorer.name: scorer for scorer in scorers}
        self._loaded: dict[str, Scorer] = {}
        self._score_one: dict[str, ScoreOne] = {}
        self._derivations: dict[str, Derivation] = {}
        for scorer in with_members(scorers):
            if scorer.members:
                self._derivations[scorer.name] = Derivation(scorer, store)
            else:
                self._loaded[scorer.name] = load(scorer, store, BATCH_TOKENS)
                self._score_one[scorer.name] = with_batching(self._loaded[scorer.name], scorer.by_language, config)
        self._identifier = identifiers.load(identifier, fasttext) if identifier is not None else None

    async def cards(self) -> list[ScorerCard]:
        """Return a card for each served scorer."""
        return [ScorerCard(s.name, tuple(self._attributes(s)), s.languages) for s in self._served.values()]

    async def judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judgement:
        """Score a text and detect its language.

        Args:
            text: The text.
            language: The language that scorers assume; None: the detected one. If none was detected, scorers with
                evidence only for some languages answer "unsupported_language".
            scorers: The names of the scorers.

        Raises:
            KeyError: If a scorer is not served.
        """
        resolved = [self._served[name] for name in scorers]
        detected = await self.detect(text)
        assumed = language or detected.language or UNDETERMINED
        scores = await asyncio.gather(*(self._score(scorer, text, assumed) for scorer in resolved))
        return Judgement(detected, dict(zip(scorers, scores, strict=True)))

    async def judge_all(self, texts: Sequence[str], language: str | None, scorers: Sequence[str]) -> list[Judgement]:
        """Judge each text as `judge` does."""
        return await asyncio.gather(*(self.judge(text, language, scorers) for text in texts))

    async def detect(self, text: str) -> DetectedLanguage:
        """Detect the language of a text. For a text with too few letters, only a guess is returned."""
        if self._identifier is None:
            return DetectedLanguage(None, None, OFF)
        if not any(character.isalpha() for character in text):
            return DetectedLanguage(None, None, TOO_SHORT if text.strip() else EMPTY)
        try:
            (answer,) = await asyncio.to_thread(self._identifier.identify, [" ".join(text.split())])
        except Exception:
            log.exception("the language identifier failed")
            return DetectedLanguage(None, None, FAILED)
        if not enough_letters(text):
            return DetectedLanguage(None, None, TOO_SHORT, answer.code)
        return DetectedLanguage(label(answer), answer.confidence, OK, answer.code)

    def _attributes(self, scorer: ResolvedScorer) -> Sequence[str]:
        if not scorer.members:
            return self._loaded[scorer.name].attributes
        return self._derivations[scorer.name].attributes([self._attributes(member) for member in scorer.members])

    async def _score(self, scorer: ResolvedScorer, text: str, language: str) -> TextScore:
        if scorer.languages is not None and language not in scorer.languages:
            reason = "the language is not known" if language == UNDETERMINED else f"no evidence for {language}"
            return TextScore({}, UNSUPPORTED, reason)
        if not text.strip():
            return TextScore({}, EMPTY)
        if not scorer.members:
            return await self._score_one[scorer.name](ScoreQuery(text, language))
        members = await asyncio.gather(*(self._score(member, text, language) for member in scorer.members))
        return derive(self._derivations[scorer.name], members, language)


def with_members(scorers: Sequence[ResolvedScorer]) -> Iterator[ResolvedScorer]:
    """Yield each scorer once, and the members of derived scorers before them, even if they are not served."""
    by_name: dict[str, ResolvedScorer] = {}
    for scorer in scorers:
        by_name |= {member.name: member for member in with_members(scorer.members)}
        by_name[scorer.name] = scorer
    yield from by_name.values()


def with_batching(scorer: Scorer, by_language: bool, config: ScoringConfig) -> ScoreOne:
    """Return a function that scores one text in a batch with others that arrive within ``config.batch_wait_s``."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=scorer.name)

    async def answer(queries: list[ScoreQuery]) -> list[TextScore]:
        return await asyncio.get_running_loop().run_in_executor(thread, score_batch, scorer, by_language, queries)

    return TextBatches(answer, config.batch_size, config.batch_wait_s).ask


def score_batch(scorer: Scorer, by_language: bool, queries: Sequence[ScoreQuery]) -> list[TextScore]:
    """Score each query, in order. Each distinct text is scored once. If the scorer raises an exception, all fail."""

    def language_of(query: ScoreQuery) -> str:
        return query.language if by_language else ""

    scores: dict[tuple[str, str], TextScore] = {}
    for language, group in groupby(sorted(queries, key=language_of), key=language_of):
        queries_in_language = list(group)
        texts = list(dict.fromkeys(query.text for query in queries_in_language))
        results: Sequence[Scores | Failure]
        try:
            results = scorer.score(texts, queries_in_language[0].language)
        except Exception as error:  # for example a service is down; the next batch tries it again
            log.exception("scorer %s failed", scorer.name)
            results = [Failure(f"{type(error).__name__}: {error}")] * len(texts)
        for text, result in zip(texts, results, strict=True):
            if isinstance(result, Failure):
                scores[text, language] = TextScore({}, FAILED, result.reason)
            else:
                scores[text, language] = TextScore(result, OK)
    return [scores[query.text, language_of(query)] for query in queries]


def derive(derivation: Derivation, members: Sequence[TextScore], language: str) -> TextScore:
    """Compute a derived scorer's result for a text from those of its members."""
    without_value = next((member for member in members if member.status != OK), None)
    if without_value is not None:
        return without_value
    values: dict[str, float] = {}
    for name in derivation.attributes([member.values for member in members]):
        columns = [Column(np.array([member.values[name]]), [member.status]) for member in members]
        column = derivation.column(columns, language)
        if column.statuses != [OK]:
            return TextScore({}, column.statuses[0])
        values[name] = float(column.values[0])
    return TextScore(values, OK)
