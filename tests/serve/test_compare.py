"""POST /v1/compare: defaults, errors, the answer and the stream; and the Python client."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from fake_gateway import client_of
from fake_scoring import compared

from detox_ray.client import Client, ServiceError
from detox_ray.client.wire_types import (
    CompareResult,
    DoneEvent,
    FailureEvent,
    ModelSummary,
    ScoredSample,
    StartEvent,
    TokenEvent,
)
from detox_ray.config import GenerateConfig
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.workers.engine import Answer, Sampling

EXPERIMENT = GenerateConfig(samples=3, temperature=0.7, top_p=0.6, max_tokens=9)


class Service(NamedTuple):
    gateway: Gateway
    app: Any

    def engine(self, name: str) -> Any:
        return self.gateway.engines[name]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Service:
    limits = {"prompts": 2, "n": 5, "max_tokens": 50}
    gateway = compared(tmp_path_factory.mktemp("run"), limits=limits)
    gateway.spec = gateway.spec._replace(generate=EXPERIMENT)
    return Service(gateway, fastapi_app(gateway))


@pytest.fixture
def made(built: Service) -> Iterator[Service]:
    yield built
    for name in built.gateway.engines:
        built.engine(name).refusal = built.engine(name).error = None
        built.engine(name).drawn.clear()


def post(made: Service, **body: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client_of(made.app) as http:
            return await http.post("/v1/compare", json={"prompt": "who are you", **body})

    return asyncio.run(go())


def test_what_a_request_leaves_out_comes_from_the_experiment(made: Service) -> None:
    answer = CompareResult.model_validate(post(made).json())
    assert (answer.models, answer.parents) == (["base", "tuned"], {"tuned": "base"})
    assert (answer.scorers, answer.primary) == (["insults", "classifier"], "insults")
    drawn = [how for _, _, how in made.engine("tuned").drawn]
    assert drawn == [Sampling(seed, 0.7, 0.6, 9) for seed in (0, 1, 2)]
    assert drawn == [how for _, _, how in made.engine("base").drawn]


def test_the_answer_holds_every_completion_its_scores_and_each_models_summary(made: Service) -> None:
    answer = post(made, prompt=["who are you", "du müder"], samples=3, temperature=1).json()
    found = CompareResult.model_validate(answer)
    places = [(each.model, each.prompt, each.sample) for each in found.completions]
    assert places == [(m, p, s) for m in ("base", "tuned") for p in (0, 1) for s in (0, 1, 2)]
    last = answer["completions"][2]
    assert last == {
        "model": "base",
        "prompt": 0,
        "sample": 2,
        "seed": 2,
        "text": " idiot idiot",
        "tokens": 2,
        "finish_reason": "stop",
        "language": "en",
        "language_status": "ok",
        "in_language": True,
        "scores": {
            "insults": {"status": "ok", "values": {"toxicity": 0.5}, "reason": None},
            "classifier": {"status": "ok", "values": {"toxicity": 0.5, "severe_toxicity": 0.5}, "reason": None},
        },
    }
    assert [each.in_language for each in found.of("base")] == [True] * 3 + [False] * 3  # the second prompt is German
    for model in found.models:
        summary = found.summary(model)
        assert (summary.expected_maximum_toxicity, summary.toxicity_probability) == (0.5, 1.0)
        assert summary.average_toxicity == pytest.approx(0.375)  # of those that are not empty
        assert (summary.scorer, summary.samples, summary.scored) == ("insults", 6, 4)
        assert summary.status_counts == {"ok": 4, "empty": 2}


def test_without_scorers_there_is_a_status_and_no_number(made: Service) -> None:
    found = CompareResult.model_validate(post(made, scorers=[]).json())
    assert found.primary is None and found.completions[0].scores == {}
    assert found.summary("base").status == "no_scorer"
    assert found.summary("base").expected_maximum_toxicity is None


def test_a_named_scorer_becomes_the_primary_one(made: Service) -> None:
    found = CompareResult.model_validate(post(made, scorers=["classifier"]).json())
    assert found.primary == found.summary("base").scorer == "classifier"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"models": ["nobody"]}, 404, "models"),
        ({"models": ["base", "base"]}, 400, "models"),
        ({"models": []}, 400, "models"),
        ({"scorers": ["nobody"]}, 404, "scorers"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": ["a", "b", "c"]}, 400, "prompt"),
        ({"prompt": 3}, 400, "prompt"),
        ({"samples": 0}, 400, "samples"),
        ({"samples": 6}, 400, "samples"),
        ({"samples": 1.5}, 400, "samples"),
        ({"temperature": 0, "samples": 2}, 400, "samples"),
        ({"temperature": -1}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"max_tokens": 51}, 400, "max_tokens"),
        ({"seed": -1}, 400, "seed"),
        ({"language": "xx"}, 400, "language"),
        ({"stream": "yes"}, 400, "stream"),
        ({"logprobs": 1}, 400, "logprobs"),
    ],
)
def test_a_refused_request_names_its_field(made: Service, body: Any, status: int, param: str) -> None:
    answer = post(made, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert not made.engine("base").drawn


def test_greedy_draws_one_sample_where_none_is_asked_for(made: Service) -> None:
    assert post(made, temperature=0).json()["samples"] == 1


def test_what_an_engine_refuses_is_the_answer(made: Service) -> None:
    body = {"error": {"message": "prompt: too long", "type": "x", "param": "prompt", "code": None}}
    made.engine("tuned").refusal = Answer(400, json.dumps(body))
    answer = post(made)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def client(made: Service) -> Client:
    """Return a client that calls the application as a program would call the service."""

    def answer(request: httpx.Request) -> httpx.Response:
        async def go() -> httpx.Response:
            async with client_of(made.app) as http:
                headers = {name: value for name, value in request.headers.items() if name != "host"}
                found = await http.request(request.method, request.url.path, content=request.content, headers=headers)
                return httpx.Response(found.status_code, headers=found.headers, content=found.content)

        return asyncio.run(go())

    speaking = Client("http://localhost")
    speaking._http = httpx.Client(base_url="http://localhost", transport=httpx.MockTransport(answer))
    return speaking


def test_the_client_compares(made: Service) -> None:
    with client(made) as speaking:
        found = speaking.compare("who are you", models=["tuned"], samples=2, seed=1)
    assert [sample.text for sample in found.of("tuned")] == [" idiot", " idiot idiot"]
    assert found.summary("tuned").expected_maximum_toxicity == 0.5


def test_the_client_follows_a_stream_event_by_event(made: Service) -> None:
    with client(made) as speaking:
        events = list(speaking.stream("who are you", samples=3))
    assert isinstance(events[0], StartEvent) and isinstance(events[-1], DoneEvent)
    for model in ("base", "tuned"):
        samples = [each for each in events if isinstance(each, ScoredSample) and each.model == model]
        assert sorted(each.sample for each in samples) == [0, 1, 2]
        for sample in samples:
            tokens = [event for event in events if isinstance(event, TokenEvent)]
            own = [token.text for token in tokens if (token.model, token.sample) == (model, sample.sample)]
            assert "".join(own) == sample.text
        (summary,) = (each for each in events if isinstance(each, ModelSummary) and each.model == model)
        assert summary.average_toxicity == pytest.approx(0.375)


def test_in_a_stream_a_broken_engine_ends_its_samples_only_and_tells_no_internals(made: Service) -> None:
    made.engine("tuned").error = OSError("/secret/path")
    with client(made) as speaking:
        events = list(speaking.stream("who are you"))
    failed = [each for each in events if isinstance(each, FailureEvent)]
    assert {(each.model, each.status) for each in failed} == {("tuned", 500)} and len(failed) == 3
    assert not any("secret" in each.error.message for each in failed)
    summaries = {each.model: each for each in events if isinstance(each, ModelSummary)}
    assert summaries["base"].samples == 3
    assert (summaries["tuned"].status, summaries["tuned"].samples) == ("no_samples", 0)


def test_the_clients_errors_say_what_the_service_said(made: Service) -> None:
    with client(made) as speaking:
        with pytest.raises(ServiceError) as wrong:
            speaking.compare("x", models=["nobody"])
        with pytest.raises(ServiceError) as streamed:
            next(iter(speaking.stream("x", samples=99)))
        with pytest.raises(ServiceError) as empty:
            speaking.analyze("")
    assert (wrong.value.status, wrong.value.param, wrong.value.code) == (404, "models", "model_not_found")
    assert "nobody" in str(wrong.value)
    assert (streamed.value.status, streamed.value.param) == (400, "samples")
    assert (empty.value.status, empty.value.message) == (400, "Comment must be non-empty.")


def test_the_client_scores_a_comment_and_its_sentences(made: Service) -> None:
    with client(made) as speaking:
        found = speaking.analyze("😀 Hi. You idiot!", ["TOXICITY"], spans=True)
    assert found.values == {"TOXICITY": 0.25}
    assert [(span.text, span.value) for span in found.spans["TOXICITY"]] == [("😀 Hi.", 0.0), ("You idiot!", 0.25)]


def answering(*chunks: bytes) -> Client:
    speaking = Client("http://nowhere")
    reply = httpx.MockTransport(lambda request: httpx.Response(200, content=b"".join(chunks)))
    speaking._http = httpx.Client(base_url="http://nowhere", transport=reply)
    return speaking


def test_a_stream_that_breaks_off_is_an_error() -> None:
    event = b'event: token\ndata: {"model": "m", "prompt": 0, "sample": 0, "text": "a\xe2\x80\xa8b"}\n\n'
    events = answering(event).stream("x")
    # A line separator within a text does not end the line.
    assert next(events) == TokenEvent(model="m", prompt=0, sample=0, text="a\u2028b")
    with pytest.raises(ServiceError, match="ended before"):
        next(events)


def test_an_answer_of_something_else_is_an_error() -> None:
    with pytest.raises(ServiceError, match="is this a detox_ray service"):
        answering(b"<html>").compare("x")


def test_a_service_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ServiceError, match=r"no answer from http://127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9").models()
