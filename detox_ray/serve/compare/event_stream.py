"""A comparison as a stream of events: samples of all models are drawn concurrently and scored as soon as they end.

It does not depend on HTTP or Ray: the functions that draw and judge are arguments.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, get_args

import numpy as np

from detox_ray.client.wire_types import (
    ComparedPrompt,
    CompletionScore,
    DoneEvent,
    LanguageStatus,
    ModelSummary,
    ScoredSample,
    StartEvent,
    TokenEvent,
)
from detox_ray.measure.completions import ATTRIBUTE, MISSING, Completions, most_common
from detox_ray.measure.conventions import CORRECTED
from detox_ray.measure.toxicity import toxicity_metrics
from detox_ray.score.identify import UNDETERMINED
from detox_ray.serve.workers.engine import Delta, FinishedSample, Sampling
from detox_ray.serve.workers.scoring import DetectedLanguage, Judgement
from detox_ray.storage.tables import OK, STATUSES

SAMPLES_PER_ENGINE = 32  # that one comparison draws at once; more would only delay other requests
MAX_QUEUED_EVENTS = 256  # events that wait for a slow client; beyond that, its samples wait
NO_SCORER, NO_SAMPLES = "no_scorer", "no_samples"

# (model, prompt, sampling) -> deltas, then the finished sample, unless it raises
Draw = Callable[[str, str, Sampling], AsyncGenerator[Delta | FinishedSample, None]]
# (text, language, scorers) -> judgement
Judge = Callable[[str, str | None, Sequence[str]], Awaitable[Judgement]]


class ComparisonSettings(NamedTuple):
    """A comparison with every field checked and every default filled in."""

    id: str
    models: list[str]
    parents: dict[str, str]  # tuned model -> its parent, if both are compared
    prompts: list[str]
    language: str | None  # language of the prompts; None: detected for each
    scorers: list[str]
    primary: str | None  # the scorer of the summaries
    samples: int  # samples per prompt and model
    sampling: Sampling  # sampling of sample 0; sample k has this seed plus k
    threshold: float


class BrokenSample(NamedTuple):
    """A sample that could not be drawn or judged."""

    error: Exception
    model: str
    prompt: int
    sample: int


ComparisonEvent = StartEvent | TokenEvent | ScoredSample | BrokenSample | ModelSummary | DoneEvent


async def comparison_events(
    settings: ComparisonSettings, draw: Draw, judge: Judge
) -> AsyncGenerator[ComparisonEvent, None]:
    """Run a comparison and yield its events. Closing the generator stops the samples that are being drawn.

    The first event is a StartEvent, and the last a DoneEvent. Between them come tokens, samples and failures as they
    happen, and each model's summary after its last sample.
    """
    prompts = await asyncio.gather(*(_prompt(text, settings.language, judge) for text in settings.prompts))
    yield _start_event(settings, prompts)
    queue: asyncio.Queue[TokenEvent | ScoredSample | BrokenSample] = asyncio.Queue(MAX_QUEUED_EVENTS)
    slots = {model: asyncio.Semaphore(SAMPLES_PER_ENGINE) for model in settings.models}
    tasks = [
        asyncio.create_task(_draw_and_judge(settings, prompts, (model, row, k), slots[model], draw, judge, queue))
        for k in range(settings.samples)
        for row in range(len(prompts))
        for model in settings.models
    ]
    unfinished = dict.fromkeys(settings.models, settings.samples * len(prompts))
    samples: dict[str, list[ScoredSample]] = {model: [] for model in settings.models}
    try:
        while any(unfinished.values()):
            event = await queue.get()
            yield event
            if isinstance(event, TokenEvent):
                continue
            if isinstance(event, ScoredSample):
                samples[event.model].append(event)
            unfinished[event.model] -= 1
            if not unfinished[event.model]:
                yield summarize(event.model, samples[event.model], settings.primary, settings.threshold)
        yield DoneEvent(id=settings.id)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _start_event(settings: ComparisonSettings, prompts: Sequence[ComparedPrompt]) -> StartEvent:
    return StartEvent(
        id=settings.id,
        models=settings.models,
        parents=settings.parents,
        prompts=list(prompts),
        scorers=settings.scorers,
        primary=settings.primary,
        attribute=ATTRIBUTE,
        threshold=settings.threshold,
        samples=settings.samples,
        **settings.sampling._asdict(),
    )


async def _prompt(text: str, language: str | None, judge: Judge) -> ComparedPrompt:
    if language is not None:
        return ComparedPrompt(text=text, language=language, language_status="given")
    detected = (await judge(text, None, ())).detected
    return ComparedPrompt(text=text, language=detected.language, language_status=_language_status(detected))


async def _draw_and_judge(
    settings: ComparisonSettings,
    prompts: Sequence[ComparedPrompt],
    place: tuple[str, int, int],
    slot: asyncio.Semaphore,
    draw: Draw,
    judge: Judge,
    queue: "asyncio.Queue[TokenEvent | ScoredSample | BrokenSample]",
) -> None:
    """Draw and judge one sample, and put its events into the queue.

    Args:
        settings: The comparison.
        prompts: Its prompts with their languages.
        place: The sample's model, prompt and number.
        slot: Held while the engine draws.
        draw: Draws a sample.
        judge: Judges a text.
        queue: Receives tokens, then the sample or its failure.
    """
    model, row, k = place
    prompt = prompts[row]
    sampling = settings.sampling._replace(seed=settings.sampling.seed + k)
    try:
        finished: FinishedSample | None = None
        async with slot, aclosing(draw(model, prompt.text, sampling)) as items:
            async for item in items:
                if isinstance(item, FinishedSample):
                    finished = item
                else:
                    await queue.put(TokenEvent(model=model, prompt=row, sample=k, text=item.text))
        assert finished is not None, "draw ends with a finished sample, or raises"
        language = None if prompt.language == UNDETERMINED else prompt.language
        judgement = await judge(finished.text, language, settings.scorers)
    except Exception as error:
        await queue.put(BrokenSample(error, model, row, k))
        return
    detected = judgement.detected
    await queue.put(
        ScoredSample(
            model=model,
            prompt=row,
            sample=k,
            seed=sampling.seed,
            text=finished.text,
            tokens=finished.tokens,
            finish_reason=finished.finish_reason,
            language=detected.language,
            language_status=_language_status(detected),
            in_language=None if language is None or detected.language is None else detected.language == language,
            scores={name: CompletionScore(**score._asdict()) for name, score in judgement.scores.items()},
        )
    )


def _language_status(detected: DetectedLanguage) -> LanguageStatus:
    status: LanguageStatus = next(known for known in get_args(LanguageStatus) if known == detected.status)
    return status


def summarize(model: str, samples: Sequence[ScoredSample], primary: str | None, threshold: float) -> ModelSummary:
    """Summarize a model's samples by the primary scorer, with the metrics of `detox_ray.measure`.

    If no sample has a value, the summary's status says why and its metrics are None.
    """
    scores = [sample.scores[primary] for sample in samples] if primary is not None else []
    values = [score.values.get(ATTRIBUTE) for score in scores]
    statuses = [
        MISSING if score.status == OK and value is None else score.status
        for score, value in zip(scores, values, strict=True)
    ]
    rows = sorted({sample.prompt for sample in samples})
    completions = Completions(
        prompt=np.array([rows.index(sample.prompt) for sample in samples], dtype=np.int64),
        empty=np.array([not sample.text.strip() for sample in samples], dtype=bool),
        value=np.array([np.nan if value is None else value for value in values], dtype=np.float64),
        status=np.array([(*STATUSES, MISSING).index(status) for status in statuses], dtype=np.int64),
        wrong=None,
        prompt_ids=[f"{row:06d}" for row in rows],
        prompt_texts=[""] * len(rows),  # "corrected" distinguishes prompts by their ids
    )
    counts = completions.counts()
    if counts.get(OK):
        status = OK
    elif primary is None:
        status = NO_SCORER
    else:
        status = most_common(counts) if counts else NO_SAMPLES
    metrics = toxicity_metrics(completions, convention=CORRECTED, threshold=threshold) if status == OK else None
    return ModelSummary(
        model=model,
        scorer=primary,
        attribute=ATTRIBUTE,
        status=status,
        expected_maximum_toxicity=metrics.expected_maximum_toxicity.value() if metrics else None,
        toxicity_probability=metrics.toxicity_probability.value() if metrics else None,
        average_toxicity=metrics.average_toxicity.value() if metrics else None,
        threshold=threshold,
        samples=len(samples),
        scored=counts.get(OK, 0),
        status_counts=counts,
    )
