"""`POST /v1/compare`: several models complete the same prompts with the same seeds, and each completion is scored.

Sample k of every model is drawn with the seed ``seed + k``. Fields that a request leaves out come from the experiment
(``generate``). If no language is given, each prompt's language is detected. If that fails, scorers get the detected
language of the completion.

`client/wire_types.py` defines the objects of the answer, and of each event of ``"stream": true``, field by field. A
number that could not be measured is null, and a status says why. Each server-sent event is a line ``event: NAME`` and a
line ``data: JSON``:

    start   {"id", "models", "parents": {tuned: parent}, "prompts": [{"text", "language", "language_status"}],
             "scorers", "primary", "attribute", "threshold", "samples", "seed", "temperature", "top_p", "max_tokens"}
                                                        once, first
    token   {"model", "prompt", "sample", "text"}       text added to a sample; samples of all models interleave
    sample  {"model", "prompt", "sample", "seed", "text", "tokens", "finish_reason", "language", "language_status",
             "in_language", "scores": {scorer: {"status", "values": {attribute: value}, "reason"}}}
                                                        a finished sample; its text replaces that of its tokens
    model   {"model", "scorer", "attribute", "status", "expected_maximum_toxicity", "toxicity_probability",
             "average_toxicity", "threshold", "samples", "scored", "status_counts"}
                                                        over all samples of a model, after its last one
    error   {"error": {"message", "type", "param", "code"}}, with "status", "model", "prompt" and "sample" if only that
            sample failed (the others go on)
    done    {"id"}                                      once, last; a stream without it is incomplete

Without ``stream`` the answer has the fields of start, ``completions`` (the samples) and ``summaries`` (one per model).
If a sample fails, the whole request fails with its error.
"""

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from detox_ray.client.wire_types import (
    EVENTS,
    CompareResult,
    ErrorDetail,
    FailureEvent,
    ModelSummary,
    ScoredSample,
    StartEvent,
)
from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.compare.event_stream import (
    BrokenSample,
    ComparisonEvent,
    ComparisonSettings,
    comparison_events,
)
from detox_ray.serve.http import errors
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import log_fields
from detox_ray.serve.http.strict_json import JsonRoute, StrictBody
from detox_ray.serve.spec import ServeSpec
from detox_ray.serve.workers.engine import Answer, Delta, FinishedSample, Sampling
from detox_ray.serve.workers.scoring import Judgement

Names = Annotated[list[str], Field(max_length=64)]

EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string", "enum": list(EVENTS)}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
RESPONSES: errors.Responses = {
    200: {
        "model": CompareResult,
        "description": "The comparison; with `stream`, server-sent events: start, token, sample, model, error, done",
        "content": {"text/event-stream": {"schema": EVENT_SCHEMA}},
    },
    404: {"model": errors.ErrorBody, "description": "A model or scorer is not served"},
}

log = logging.getLogger("ray.serve")


class CompareRequest(StrictBody):
    """A comparison. The service's ``serve.limits`` bound the size of a request."""

    prompt: str | Annotated[list[str], Field(min_length=1)]
    models: Annotated[Names, Field(min_length=1)] | None = Field(None, description="default: all that are served")
    samples: int | None = Field(None, ge=1, description="per prompt and model; default: the experiment's")
    seed: int = Field(0, ge=0, lt=2**31, description="of sample 0; sample k has seed + k")
    temperature: float | None = Field(None, ge=0, le=2, description="0 is greedy: then samples must be 1")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    scorers: Names | None = Field(None, description="default: all that are served; []: none")
    language: str | None = Field(None, description="of the prompts; default: detected")
    stream: bool = Field(False, description="answer with server-sent events")


def routes(gateway: Gateway) -> APIRouter:
    """Return the route /v1/compare."""
    router = APIRouter(prefix="/v1", tags=["comparison"], route_class=JsonRoute)
    backends = _Backends(gateway)

    @router.post("/compare", response_class=Response, responses=RESPONSES)
    async def compare(body: CompareRequest, request: Request) -> Response:
        """Complete the same prompts with the same seeds by several models, and score each completion."""
        settings = check(body, gateway.spec)
        log_fields(
            request, models=settings.models, samples=settings.samples, stream=body.stream, prompt=settings.prompts
        )
        if body.stream:
            events = comparison_events(settings, backends.draw, backends.judge)
            return StreamingResponse(
                server_sent_events(events), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
            )
        result = await collect(comparison_events(settings, backends.draw_whole, backends.judge))
        return Response(result.model_dump_json(), media_type="application/json")

    return router


def check(body: CompareRequest, spec: ServeSpec) -> ComparisonSettings:
    """Check a request against what is served and fill in its defaults. Raises RequestError that names the field."""
    limits, generate = spec.config.limits, spec.generate
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    models = spec.models if body.models is None else body.models
    served_scorers = [scorer.name for scorer in spec.scorers]
    scorers = served_scorers if body.scorers is None else body.scorers
    temperature = generate.temperature if body.temperature is None else body.temperature
    samples = body.samples or (1 if temperature == 0 else min(generate.samples, limits.n))
    max_tokens = body.max_tokens or min(generate.max_tokens, limits.max_tokens)
    if len(prompts) > limits.prompts:
        raise RequestError(400, f"prompt: at most {limits.prompts} prompts per request", "prompt")
    if not spec.models:
        message = "models: none is served here, only scorers: POST /v1alpha1/comments:analyze answers"
        raise RequestError(404, message, "models", "model_not_found")
    _check_distinct("models", models)
    _check_distinct("scorers", scorers)
    for name in models:
        if name not in spec.models:
            message = f"models: {name[:100]!r} is not served: choose from {', '.join(spec.models)}"
            raise RequestError(404, message, "models", "model_not_found")
    for name in scorers:
        if name not in served_scorers:
            message = f"scorers: {name[:100]!r} is not served: choose from {', '.join(served_scorers) or 'none'}"
            raise RequestError(404, message, "scorers", "scorer_not_found")
    if body.language is not None and body.language not in LANGUAGES:
        raise RequestError(400, f"language: must be one of {' '.join(LANGUAGES)}", "language")
    for field, value, limit in (("samples", samples, limits.n), ("max_tokens", max_tokens, limits.max_tokens)):
        if value > limit:
            raise RequestError(400, f"{field}: at most {limit}", field)
    if temperature == 0 and samples > 1:
        rule = "samples: must be 1 at temperature 0, because all samples would be the same"
        raise RequestError(400, rule, "samples")
    return ComparisonSettings(
        id=f"cmp-{uuid4().hex}",
        models=models,
        parents={tuned: parent for tuned, parent in spec.parents.items() if tuned in models and parent in models},
        prompts=prompts,
        language=body.language,
        scorers=scorers,
        primary=spec.primary if spec.primary in scorers else next(iter(scorers), None),
        samples=samples,
        sampling=Sampling(body.seed, temperature, generate.top_p if body.top_p is None else body.top_p, max_tokens),
        threshold=spec.threshold,
    )


def _check_distinct(field: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise RequestError(400, f"{field}: each name may occur only once", field)


class _Backends:
    """The functions that draw and judge through the gateway's handles. They count tokens and scores."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway

    async def draw(self, model: str, prompt: str, sampling: Sampling) -> AsyncGenerator[Delta | FinishedSample, None]:
        """Yield a sample's text as it grows, and the finished sample last."""
        batches: Any = self._gateway.engine(model).sample.options(stream=True).remote(model, prompt, sampling)
        try:
            async for batch in batches:
                for item in batch:
                    yield self._checked(model, item)
        finally:
            batches.cancel()  # has no effect on a finished sample

    async def draw_whole(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[Delta | FinishedSample, None]:
        """Yield only the finished sample, which takes one message between processes instead of one per token."""
        engine = self._gateway.engine(model)
        yield self._checked(model, await self._gateway.ask(engine.finished_sample, model, prompt, sampling))

    async def judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judgement:
        """Return a text's language and scores."""
        judgement: Judgement = await self._gateway.ask(self._gateway.scoring.judge, text, language, list(scorers))
        for name, score in judgement.scores.items():
            self._gateway.metrics.count_scores(name, [score.status])
        return judgement

    def _checked(self, model: str, item: Delta | FinishedSample | Answer) -> Delta | FinishedSample:
        """Count and return an item of an engine. Raises RequestError if it is an answer with an error."""
        if isinstance(item, Answer):
            error = json.loads(item.body)["error"]
            raise RequestError(item.status, error["message"], error["param"], error["code"])
        if isinstance(item, FinishedSample):
            self._gateway.metrics.count_tokens(model, 0, item.tokens)
        return item


async def server_sent_events(events: AsyncGenerator[ComparisonEvent, None]) -> AsyncGenerator[str, None]:
    """Yield a comparison's events as text of server-sent events."""
    names = {kind: name for name, kind in EVENTS.items()}
    async with aclosing(events):
        async for event in events:
            wire_event = _failure_event(event) if isinstance(event, BrokenSample) else event
            yield f"event: {names[type(wire_event)]}\ndata: {wire_event.model_dump_json()}\n\n"


async def collect(events: AsyncGenerator[ComparisonEvent, None]) -> CompareResult:
    """Collect a comparison's events into one answer. Raises the error of the first broken sample."""
    start: StartEvent | None = None
    samples: list[ScoredSample] = []
    summaries: dict[str, ModelSummary] = {}
    async with aclosing(events):
        async for event in events:
            if isinstance(event, StartEvent):
                start = event
            elif isinstance(event, BrokenSample):
                raise event.error
            elif isinstance(event, ScoredSample):
                samples.append(event)
            elif isinstance(event, ModelSummary):
                summaries[event.model] = event
    assert start is not None, "the start event comes first"
    position = {model: index for index, model in enumerate(start.models)}
    samples.sort(key=lambda sample: (position[sample.model], sample.prompt, sample.sample))
    summaries_in_order = [summaries[model] for model in start.models]
    return CompareResult(**dict(start), completions=samples, summaries=summaries_in_order)


def _failure_event(broken: BrokenSample) -> FailureEvent:
    """Return a failure for the client. It shows the message of a RequestError, but of other errors no internals."""
    error = broken.error if isinstance(broken.error, RequestError) else errors.replica_error(broken.error)
    if error is None:
        log.error("a sample failed", exc_info=broken.error)
        error = RequestError(500, "the sample failed: the service's log says why", code="internal_error")
    return FailureEvent(
        error=ErrorDetail(**errors.error_object(error, "/")["error"]),
        status=error.status_code,
        model=broken.model,
        prompt=broken.prompt,
        sample=broken.sample,
    )
