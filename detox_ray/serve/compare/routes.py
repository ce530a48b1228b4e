"""`POST /v1/compare`: the same prompts and seeds through several models, each completion scored.

Sample k of every model is drawn with the seed ``seed + k``. What is left out of a request comes from the experiment
(``generate``). Where no language is given each prompt's is detected, and where it cannot be told, scorers are told the
language that a completion was found to be in.

The answer, and each event of ``"stream": true``, is made of objects that `client/wire_types.py` defines field by field;
nothing that could not be measured is a number (null, with a status that says why). Server-sent events, each ``event:
NAME`` and one line ``data: JSON``:

    start   {"id", "models", "parents": {tuned: parent}, "prompts": [{"text", "language", "language_status"}],
             "scorers", "primary", "attribute", "threshold", "samples", "seed", "temperature", "top_p", "max_tokens"}
                                                        once, first
    token   {"model", "prompt", "sample", "text"}       what a sample grew by; samples of all models interleave
    sample  {"model", "prompt", "sample", "seed", "text", "tokens", "finish_reason", "language", "language_status",
             "in_language", "scores": {scorer: {"status", "values": {attribute: value}, "reason"}}}
                                                        its text is whole: it replaces what the tokens made
    model   {"model", "scorer", "attribute", "status", "expected_maximum_toxicity", "toxicity_probability",
             "average_toxicity", "threshold", "samples", "scored", "status_counts"}
                                                        over all samples of a model, once they are there
    error   {"error": {"message", "type", "param", "code"}}, with "status", "model", "prompt" and "sample" where only
            that sample failed (the others go on)
    done    {"id"}                                      once, last; without it the stream broke off

Without ``stream`` the answer is what start says, with ``completions`` (samples) and ``summaries`` (of the models); one
sample that fails is then the whole request's error.
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

from detox_ray.client.wire_types import EVENTS, Comparison, Error, Failed, Sample, Start, Summary
from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.compare.event_stream import Asked, Broken, Happened, events
from detox_ray.serve.http import errors
from detox_ray.serve.http.admission import of_ray
from detox_ray.serve.http.errors import Refused
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import note
from detox_ray.serve.openai.requests import Body, JsonRoute
from detox_ray.serve.spec import Served
from detox_ray.serve.workers.engine import Answer, Delta, Sampled, Sampling
from detox_ray.serve.workers.scoring import Judged

Names = Annotated[list[str], Field(max_length=64)]

EVENT = {  # as a schema
    "type": "object",
    "properties": {"event": {"type": "string", "enum": list(EVENTS)}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
ANSWERS: errors.Responses = {
    200: {
        "model": Comparison,
        "description": "The comparison; with `stream`, server-sent events: start, token, sample, model, error, done",
        "content": {"text/event-stream": {"schema": EVENT}},
    },
    404: {"model": errors.ErrorBody, "description": "A model or scorer is not served"},
}

log = logging.getLogger("ray.serve")


class CompareRequest(Body):
    """A comparison. How much may be asked for at once is set where the service is run (``serve.limits``)."""

    prompt: str | Annotated[list[str], Field(min_length=1)]
    models: Annotated[Names, Field(min_length=1)] | None = Field(None, description="default: all that are served")
    samples: int | None = Field(None, ge=1, description="of each prompt and model; default: the experiment's")
    seed: int = Field(0, ge=0, lt=2**31, description="of sample 0; sample k has seed + k")
    temperature: float | None = Field(None, ge=0, le=2, description="0 is greedy: then samples must be 1")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    scorers: Names | None = Field(None, description="default: all that are served; []: none")
    language: str | None = Field(None, description="of the prompts; default: detected")
    stream: bool = Field(False, description="server-sent events")


def routes(gateway: Gateway) -> APIRouter:
    """/v1/compare."""
    router = APIRouter(prefix="/v1", tags=["comparison"], route_class=JsonRoute)
    models = _Models(gateway)

    @router.post(
        "/compare",
        response_class=Response,
        responses=ANSWERS,
    )
    async def compare(body: CompareRequest, request: Request) -> Response:
        """The same prompts and seeds through several models, each completion scored."""
        asked = understood(body, gateway.served)
        note(request, models=asked.models, samples=asked.samples, stream=body.stream, prompt=asked.prompts)
        if body.stream:
            stream = written(events(asked, models.grown, models.judge))
            return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        whole = await collected(events(asked, models.finished, models.judge))
        return Response(whole.model_dump_json(), media_type="application/json")

    return router


def understood(body: CompareRequest, served: Served) -> Asked:
    """The request with what it leaves out, checked against what is served. Raises Refused."""
    limits, generate = served.config.limits, served.generate
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    models = served.models if body.models is None else body.models
    known = [scorer.name for scorer in served.scorers]
    scorers = known if body.scorers is None else body.scorers
    temperature = generate.temperature if body.temperature is None else body.temperature
    samples = body.samples or (1 if temperature == 0 else min(generate.samples, limits.n))
    max_tokens = body.max_tokens or min(generate.max_tokens, limits.max_tokens)
    if len(prompts) > limits.prompts:
        raise Refused(400, f"prompt: at most {limits.prompts} at once", "prompt")
    _distinct("models", models)
    _distinct("scorers", scorers)
    for name in models:
        if name not in served.models:
            message = f"models: {name[:100]!r} is not served: choose of {', '.join(served.models)}"
            raise Refused(404, message, "models", "model_not_found")
    for name in scorers:
        if name not in known:
            message = f"scorers: {name[:100]!r} is not served: choose of {', '.join(known) or 'none'}"
            raise Refused(404, message, "scorers", "scorer_not_found")
    if body.language is not None and body.language not in LANGUAGES:
        raise Refused(400, f"language: must be one of {' '.join(LANGUAGES)}", "language")
    for field, value, most in (("samples", samples, limits.n), ("max_tokens", max_tokens, limits.max_tokens)):
        if value > most:
            raise Refused(400, f"{field}: at most {most}", field)
    if temperature == 0 and samples > 1:
        raise Refused(400, "samples: must be 1 at temperature 0, where all would be the same", "samples")
    return Asked(
        id=f"cmp-{uuid4().hex}",
        models=models,
        parents={tuned: parent for tuned, parent in served.parents.items() if tuned in models and parent in models},
        prompts=prompts,
        language=body.language,
        scorers=scorers,
        primary=served.primary if served.primary in scorers else next(iter(scorers), None),
        samples=samples,
        sampling=Sampling(body.seed, temperature, generate.top_p if body.top_p is None else body.top_p, max_tokens),
        threshold=served.threshold,
    )


def _distinct(field: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise Refused(400, f"{field}: each name may occur once", field)


class _Models:
    """Draws and judges by the gateway's handles, and counts what was done."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway

    async def grown(self, model: str, prompt: str, sampling: Sampling) -> AsyncGenerator[Delta | Sampled, None]:
        """As it grows."""
        groups: Any = self._gateway.engine(model).sample.options(stream=True).remote(model, prompt, sampling)
        try:
            async for group in groups:
                for item in group:
                    yield self._counted(model, item)
        finally:
            groups.cancel()  # of a sample that is finished it does nothing

    async def finished(self, model: str, prompt: str, sampling: Sampling) -> AsyncGenerator[Delta | Sampled, None]:
        """Once it is finished: a message of Ray's and not one for each token."""
        yield self._counted(
            model, await self._gateway.ask(self._gateway.engine(model).finished, model, prompt, sampling)
        )

    async def judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judged:
        judged: Judged = await self._gateway.ask(self._gateway.scoring.judge, text, language, list(scorers))
        for name, scored in judged.scores.items():
            self._gateway.metrics.scores(name, [scored.status])
        return judged

    def _counted(self, model: str, item: Delta | Sampled | Answer) -> Delta | Sampled:
        if isinstance(item, Answer):
            error = json.loads(item.body)["error"]
            raise Refused(item.status, error["message"], error["param"], error["code"])
        if isinstance(item, Sampled):
            self._gateway.metrics.used(model, 0, item.tokens)
        return item


async def written(happened: AsyncGenerator[Happened, None]) -> AsyncGenerator[str, None]:
    """As server-sent events."""
    names = {kind: name for name, kind in EVENTS.items()}
    async with aclosing(happened) as all_of_it:
        async for each in all_of_it:
            event = _failed(each) if isinstance(each, Broken) else each
            yield f"event: {names[type(event)]}\ndata: {event.model_dump_json()}\n\n"


async def collected(happened: AsyncGenerator[Happened, None]) -> Comparison:
    """As one answer. Raises what the first broken sample raised."""
    start: Start | None = None
    samples: list[Sample] = []
    summaries: dict[str, Summary] = {}
    async with aclosing(happened) as all_of_it:
        async for each in all_of_it:
            if isinstance(each, Start):
                start = each
            elif isinstance(each, Broken):
                raise each.error
            elif isinstance(each, Sample):
                samples.append(each)
            elif isinstance(each, Summary):
                summaries[each.model] = each
    assert start is not None, "it comes first"
    order = {model: place for place, model in enumerate(start.models)}
    samples.sort(key=lambda sample: (order[sample.model], sample.prompt, sample.sample))
    in_order = [summaries[model] for model in start.models]
    return Comparison(**dict(start), completions=samples, summaries=in_order)


def _failed(broken: Broken) -> Failed:
    """What the client is told: the words of a refusal; of anything else no more than that it happened."""
    refused = broken.error if isinstance(broken.error, Refused) else of_ray(broken.error)
    if refused is None:
        log.error("a sample failed", exc_info=broken.error)
        refused = Refused(500, "the sample failed: the service's log says why", code="internal_error")
    error = Error(**errors.content(refused, "/")["error"])
    place = {"model": broken.model, "prompt": broken.prompt, "sample": broken.sample}
    return Failed(error=error, status=refused.status_code, **place)
