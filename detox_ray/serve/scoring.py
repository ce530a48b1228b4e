"""The scorers and the language identifier behind a Ray Serve deployment; texts that come at once make one batch.

The rules are those of a run: the same statuses (`detox_ray.score.cached_scorer`), the same derived scorers
(`detox_ray.score.derived_scorers`), the same identification (`detox_ray.score.identify`). Each scorer has a queue and a
thread of its own, so that a slow one (a service over the network) holds up no other.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from ray import serve

from detox_ray.cluster import keep_replica_on_loopback
from detox_ray.config import ScoreConfig, ScoringConfig
from detox_ray.score import ResolvedScorer, identifiers, load
from detox_ray.score.derived_scorers import Column, Derivation
from detox_ray.score.identify import UNDETERMINED, enough_letters, label
from detox_ray.score.scorers import Failure, Scorer, Scores
from detox_ray.storage import Store
from detox_ray.storage.tables import EMPTY, FAILED, OK, TOO_SHORT, UNSUPPORTED

OFF = "off"  # no identifier is served
BATCH_TOKENS = int(ScoreConfig.model_fields["batch_tokens"].default)

log = logging.getLogger("ray.serve")


class Scored(NamedTuple):
    """What a scorer says of a text; no value but under the status "ok"."""

    values: dict[str, float]  # attribute -> value in [0, 1]; empty unless ok
    status: str  # "ok", "empty", "unsupported_language", "failed"
    reason: str | None = None  # why it failed


class Detected(NamedTuple):
    """The language that a text is in."""

    language: str | None  # a code, or "und"; None under every status but "ok"
    confidence: float | None
    status: str  # "ok", "too_short", "empty", "failed", "off"
    guess: str | None = None  # the likeliest, however unlikely; None where there is no letter, or no identifier


class Judged(NamedTuple):
    """All that is said of a text."""

    detected: Detected
    scores: dict[str, Scored]  # by scorer


class ScorerCard(NamedTuple):
    """What a scorer can be asked for."""

    name: str
    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # where it has evidence; None: all


class Question(NamedTuple):
    """A text for a scorer that is not made of others, in a language that it knows."""

    text: str
    language: str


Ask = Callable[[Question], Coroutine[Any, Any, Scored]]


class Scoring:
    """Holds all scorers that are served, the members of derived ones, and the identifier."""

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
        self._asks: dict[str, Ask] = {}
        self._derivations: dict[str, Derivation] = {}
        for scorer in with_members(scorers):
            if scorer.members:
                self._derivations[scorer.name] = Derivation(scorer, store)
            else:
                self._loaded[scorer.name] = load(scorer, store, BATCH_TOKENS)
                self._asks[scorer.name] = batched(self._loaded[scorer.name], scorer.by_language, config)
        self._identifier = identifiers.load(identifier, fasttext) if identifier is not None else None

    async def cards(self) -> list[ScorerCard]:
        """Of the scorers that are served."""
        return [ScorerCard(s.name, tuple(self._attributes(s)), s.languages) for s in self._served.values()]

    async def judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judged:
        """A text by the named scorers, and its language.

        ``language``: what scorers are told it is in; None: what is detected, and where nothing is, scorers that have
        evidence for some languages only say "unsupported_language". Raises KeyError for a scorer that is not served.
        """
        asked = [self._served[name] for name in scorers]
        detected = await self.detect(text)
        told = language or detected.language or UNDETERMINED
        scored = await asyncio.gather(*(self._score(scorer, text, told) for scorer in asked))
        return Judged(detected, dict(zip(scorers, scored, strict=True)))

    async def judge_all(self, texts: Sequence[str], language: str | None, scorers: Sequence[str]) -> list[Judged]:
        """As `judge`, of each."""
        return await asyncio.gather(*(self.judge(text, language, scorers) for text in texts))

    async def detect(self, text: str) -> Detected:
        """The language of a text; of too few letters it is guessed only."""
        if self._identifier is None:
            return Detected(None, None, OFF)
        if not any(character.isalpha() for character in text):
            return Detected(None, None, TOO_SHORT if text.strip() else EMPTY)
        try:
            (answer,) = await asyncio.to_thread(self._identifier.identify, [" ".join(text.split())])
        except Exception:
            log.exception("the language identifier failed")
            return Detected(None, None, FAILED)
        if not enough_letters(text):
            return Detected(None, None, TOO_SHORT, answer.code)
        return Detected(label(answer), answer.confidence, OK, answer.code)

    def _attributes(self, scorer: ResolvedScorer) -> Sequence[str]:
        if not scorer.members:
            return self._loaded[scorer.name].attributes
        return self._derivations[scorer.name].attributes([self._attributes(member) for member in scorer.members])

    async def _score(self, scorer: ResolvedScorer, text: str, language: str) -> Scored:
        if scorer.languages is not None and language not in scorer.languages:
            known = "the language is not known" if language == UNDETERMINED else f"no evidence for {language}"
            return Scored({}, UNSUPPORTED, known)
        if not text.strip():
            return Scored({}, EMPTY)
        if not scorer.members:
            return await self._asks[scorer.name](Question(text, language))
        members = await asyncio.gather(*(self._score(member, text, language) for member in scorer.members))
        return combined(self._derivations[scorer.name], members, language)


def with_members(scorers: Sequence[ResolvedScorer]) -> Iterator[ResolvedScorer]:
    """Each scorer once, and all that they are made of, whether served by themselves or not."""
    found: dict[str, ResolvedScorer] = {}
    for scorer in scorers:
        found |= {member.name: member for member in with_members(scorer.members)}
        found[scorer.name] = scorer
    yield from found.values()


def batched(scorer: Scorer, by_language: bool, config: ScoringConfig) -> Ask:
    """Asks ``scorer`` in a thread of its own for all that is asked within ``config.batch_wait_s``."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=scorer.name)

    @serve.batch(max_batch_size=config.batch_size, batch_wait_timeout_s=config.batch_wait_s)
    async def ask(questions: list[Question]) -> list[Scored]:
        return await asyncio.get_running_loop().run_in_executor(thread, answers, scorer, by_language, questions)

    asked: Ask = ask
    return asked


def answers(scorer: Scorer, by_language: bool, questions: Sequence[Question]) -> list[Scored]:
    """One for each question, in order. Each distinct text is asked once; whatever the scorer raises is a failure."""

    def language(question: Question) -> str:
        return question.language if by_language else ""

    found: dict[tuple[str, str], Scored] = {}
    for _, group in groupby(sorted(questions, key=language), key=language):
        alike = list(group)
        texts = list(dict.fromkeys(question.text for question in alike))
        results: Sequence[Scores | Failure]
        try:
            results = scorer.score(texts, alike[0].language)
        except Exception as error:  # also a service that is down: it is asked again with the next text
            log.exception("scorer %s failed", scorer.name)
            results = [Failure(f"{type(error).__name__}: {error}")] * len(texts)
        for text, result in zip(texts, results, strict=True):
            scored = Scored({}, FAILED, result.reason) if isinstance(result, Failure) else Scored(result, OK)
            found[text, language(alike[0])] = scored
    return [found[question.text, language(question)] for question in questions]


def combined(derivation: Derivation, members: Sequence[Scored], language: str) -> Scored:
    """What a derived scorer says, from what its members say of the same text."""
    missing = next((member for member in members if member.status != OK), None)
    if missing is not None:
        return missing
    values: dict[str, float] = {}
    for name in derivation.attributes([member.values for member in members]):
        columns = [Column(np.array([member.values[name]]), [member.status]) for member in members]
        column = derivation.column(columns, language)
        if column.statuses != [OK]:
            return Scored({}, column.statuses[0])
        values[name] = float(column.values[0])
    return Scored(values, OK)
