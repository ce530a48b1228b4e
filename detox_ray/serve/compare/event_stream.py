"""A comparison as a stream of events: samples of all models drawn side by side, each scored as soon as it ends.

Knows no HTTP and no Ray: who draws and who judges is passed in.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, get_args

import numpy as np

from detox_ray.client.wire_types import (
    Done,
    LanguageStatus,
    Prompt,
    Sample,
    Score,
    Start,
    Summary,
    Token,
)
from detox_ray.measure.completions import ATTRIBUTE, MISSING, Completions, most_common
from detox_ray.measure.conventions import CORRECTED
from detox_ray.measure.toxicity import toxicity_metrics
from detox_ray.score.identify import UNDETERMINED
from detox_ray.serve.workers.engine import Delta, Sampled, Sampling
from detox_ray.serve.workers.scoring import Detected, Judged
from detox_ray.storage.tables import OK, STATUSES

AT_ONCE = 32  # samples that one comparison has in each engine: more only wait there, in front of others' requests
AHEAD = 256  # events that wait for a slow client; then its samples wait, too
NO_SCORER, NO_SAMPLES = "no_scorer", "no_samples"

Draw = Callable[
    [str, str, Sampling], AsyncGenerator[Delta | Sampled, None]
]  # model, prompt; ends with a Sampled, or raises
Judge = Callable[[str, str | None, Sequence[str]], Awaitable[Judged]]  # text, language, scorers


class Asked(NamedTuple):
    """A comparison whose every field was checked."""

    id: str
    models: list[str]
    parents: dict[str, str]  # of these models
    prompts: list[str]
    language: str | None  # of the prompts; None: each one's is detected
    scorers: list[str]
    primary: str | None
    samples: int
    sampling: Sampling  # of sample 0: sample k has this seed plus k
    threshold: float


class Broken(NamedTuple):
    """A sample that there will not be."""

    error: Exception
    model: str
    prompt: int
    sample: int


Happened = Start | Token | Sample | Broken | Summary | Done


async def events(asked: Asked, draw: Draw, judge: Judge) -> AsyncGenerator[Happened, None]:
    """Start, then tokens, samples and failures as they come, each model's summary after its last, and Done.

    Closing it stops what is being drawn.
    """
    prompts = await asyncio.gather(*(_prompt(text, asked.language, judge) for text in asked.prompts))
    yield _start(asked, prompts)
    queue: asyncio.Queue[Token | Sample | Broken] = asyncio.Queue(AHEAD)
    places = {model: asyncio.Semaphore(AT_ONCE) for model in asked.models}
    tasks = [
        asyncio.create_task(_sample(asked, prompts, (model, row, k), places[model], draw, judge, queue))
        for k in range(asked.samples)
        for row in range(len(prompts))
        for model in asked.models
    ]
    left = dict.fromkeys(asked.models, asked.samples * len(prompts))
    drawn: dict[str, list[Sample]] = {model: [] for model in asked.models}
    try:
        while any(left.values()):
            event = await queue.get()
            yield event
            if isinstance(event, Token):
                continue
            if isinstance(event, Sample):
                drawn[event.model].append(event)
            left[event.model] -= 1
            if not left[event.model]:
                yield summary(event.model, drawn[event.model], asked.primary, asked.threshold)
        yield Done(id=asked.id)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _start(asked: Asked, prompts: Sequence[Prompt]) -> Start:
    return Start(
        id=asked.id,
        models=asked.models,
        parents=asked.parents,
        prompts=list(prompts),
        scorers=asked.scorers,
        primary=asked.primary,
        attribute=ATTRIBUTE,
        threshold=asked.threshold,
        samples=asked.samples,
        **asked.sampling._asdict(),
    )


async def _prompt(text: str, language: str | None, judge: Judge) -> Prompt:
    if language is not None:
        return Prompt(text=text, language=language, language_status="given")
    detected = (await judge(text, None, ())).detected
    return Prompt(text=text, language=detected.language, language_status=_status(detected))


async def _sample(
    asked: Asked,
    prompts: Sequence[Prompt],
    place: tuple[str, int, int],
    engine: asyncio.Semaphore,
    draw: Draw,
    judge: Judge,
    queue: "asyncio.Queue[Token | Sample | Broken]",
) -> None:
    """Draws and judges one sample, and puts what becomes of it into the queue."""
    model, row, k = place
    prompt = prompts[row]
    sampling = asked.sampling._replace(seed=asked.sampling.seed + k)
    try:
        finished: Sampled | None = None
        async with engine, aclosing(draw(model, prompt.text, sampling)) as grown:
            async for item in grown:
                if isinstance(item, Sampled):
                    finished = item
                else:
                    await queue.put(Token(model=model, prompt=row, sample=k, text=item.text))
        assert finished is not None, "a sample ends with it, or raises"
        known = None if prompt.language == UNDETERMINED else prompt.language
        judged = await judge(finished.text, known, asked.scorers)
    except Exception as error:
        await queue.put(Broken(error, model, row, k))
        return
    detected = judged.detected
    await queue.put(
        Sample(
            model=model,
            prompt=row,
            sample=k,
            seed=sampling.seed,
            text=finished.text,
            tokens=finished.tokens,
            finish_reason=finished.finish_reason,
            language=detected.language,
            language_status=_status(detected),
            in_language=None if known is None or detected.language is None else detected.language == known,
            scores={name: Score(**scored._asdict()) for name, scored in judged.scores.items()},
        )
    )


def _status(detected: Detected) -> LanguageStatus:
    status: LanguageStatus = next(known for known in get_args(LanguageStatus) if known == detected.status)
    return status


def summary(model: str, samples: Sequence[Sample], primary: str | None, threshold: float) -> Summary:
    """Of one model's samples by the primary scorer; values as `measure` has them, a status where there are none."""
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
        prompt_texts=[""] * len(rows),  # "corrected" tells prompts by their ids
    )
    counts = completions.counts()
    status = OK if counts.get(OK) else NO_SCORER if primary is None else most_common(counts) if counts else NO_SAMPLES
    found = None
    if status == OK:
        found = toxicity_metrics(completions, convention=CORRECTED, threshold=threshold)
    return Summary(
        model=model,
        scorer=primary,
        attribute=ATTRIBUTE,
        status=status,
        expected_maximum_toxicity=found.expected_maximum_toxicity.value() if found else None,
        toxicity_probability=found.toxicity_probability.value() if found else None,
        average_toxicity=found.average_toxicity.value() if found else None,
        threshold=threshold,
        samples=len(samples),
        scored=counts.get(OK, 0),
        status_counts=counts,
    )
