"""Invalid requests get a 4xx that names the field, in OpenAI's form."""

import asyncio
from typing import Any

import httpx
import pytest
from fake_gateway import client_of, gateway

from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.openai.requests import ChatRequest, CompletionRequest

LIMITS = {"n": 4, "prompts": 3, "max_tokens": 64, "body_bytes": 20_000}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fastapi_app(gateway(tmp_path_factory.mktemp("storage"), limits=LIMITS))


def ask(app: Any, method: str, url: str | httpx.URL, **sent: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client_of(app) as http:
            return await http.request(method, url, **sent)

    return asyncio.run(go())


def post(app: Any, path: str = "/v1/completions", **sent: Any) -> httpx.Response:
    return ask(app, "POST", path, **sent)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ('"n": -1', "n"),
        ('"n": 5', "n"),
        ('"n": 2.5', "n"),
        ('"n": true', "n"),
        ('"temperature": NaN', "temperature"),
        ('"temperature": Infinity', "temperature"),
        ('"temperature": "hot"', "temperature"),
        ('"temperature": -0.1', "temperature"),
        ('"top_p": 0', "top_p"),
        ('"max_tokens": 65', "max_tokens"),
        ('"max_tokens": 0', "max_tokens"),
        ('"seed": 1e3', "seed"),
        ('"seed": 99999999999999999999999999', "seed"),
        ('"prompt": 7', "prompt"),
        ('"prompt": []', "prompt"),
        ('"prompt": ["a", "b", "c", "d"]', "prompt"),
        ('"prompt": [[]]', "prompt"),
        ('"prompt": [1, -1]', "prompt"),
        ('"prompt": [1, "a"]', "prompt"),
        ('"stop": ["a", ""]', "stop[1]"),
        ('"logprobs": 21', "logprobs"),
        ('"echo": true', "echo"),
        ('"stream": "yes"', "stream"),
        ('"stream_options": {"other": 1}', "stream_options.other"),
        ('"best_of": 2', "best_of"),
        ('"best_of": true', "best_of"),
        ('"logit_bias": {"5": 100}', "logit_bias"),
        ('"suffix": "end"', "suffix"),
        ('"service_tier": "priority"', "service_tier"),
        ('"stream_options": {"include_obfuscation": true}', "stream_options.include_obfuscation"),
        ('"<script>": 2', "<script>"),
        ('"model": null', "model"),
    ],
)
def test_wrong_field_is_named(app: Any, changed: str, field: str) -> None:
    body = f'{{"model": "base", "prompt": "x", {changed}}}'
    answer = post(app, content=body.encode(), headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    named = [error["param"], *(part.partition(":")[0] for part in error["message"].split("; "))]
    assert field in named, error


def test_unsupported_fields_at_their_neutral_value_are_taken_and_not_passed_on() -> None:
    asked = {"model": "base", "prompt": "x", "n": 2}
    langchain = {"logit_bias": {}, "best_of": 1, "user": "me", "echo": False, "suffix": "", "service_tier": "auto"}
    assert CompletionRequest.model_validate({**asked, **langchain}).engine_request() == {**asked, "echo": False}
    chat = {"model": "base", "messages": [{"role": "user", "content": "x"}]}
    sent = {
        "logit_bias": {},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "function_call": None,
        "stream_options": None,
    }
    assert ChatRequest.model_validate({**chat, **sent}).engine_request() == chat
    earlier = {"role": "assistant", "content": "y", "refusal": None, "tool_calls": [], "annotations": [], "audio": None}
    asked_again = ChatRequest.model_validate({"model": "base", "messages": [earlier]}).engine_request()
    assert asked_again["messages"] == [{"role": "assistant", "content": "y"}]


@pytest.mark.parametrize(
    "changed",
    [{"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}}, {"modalities": ["audio"]}],
)
def test_unsupported_fields_of_a_chat_are_refused_by_name(app: Any, changed: dict[str, Any]) -> None:
    body = {"model": "base", "messages": [{"role": "user", "content": "x"}], **changed}
    answer = post(app, "/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"{next(iter(changed))}: is not supported"


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([{"role": "boss", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
    ],
)
def test_wrong_message_is_named(app: Any, messages: list[Any], field: str) -> None:
    answer = post(app, "/v1/chat/completions", json={"model": "base", "messages": messages})
    error = answer.json()["error"]
    assert answer.status_code == 400 and field in error["message"], error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"model": "base", "prompt": "\xff"}',
        b'{"model": "base", "prompt": "\\ud800"}',
        b'{"model": "base", "prompt": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_broken_body_is_refused(app: Any, body: bytes) -> None:
    answer = post(app, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"])
def test_other_content_types_are_refused(app: Any, kind: str) -> None:
    answer = post(app, content=b'{"model": "base", "prompt": "x"}', headers={"content-type": kind})
    assert answer.status_code == 415


def test_value_at_fault_is_not_repeated(app: Any) -> None:
    for wrong in ({"prompt": {"a": "hush"}}, {"prompt": "x", "seed": "hush"}, {"prompt": "x", "n": "hush"}):
        answer = post(app, json={"model": "base", **wrong})
        assert answer.status_code == 400 and "hush" not in answer.text


def test_unknown_model_path_and_method_are_told(app: Any) -> None:
    answer = post(app, json={"model": "none", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "base" in answer.json()["error"]["message"]
    answer = post(app, "/v1/nothing", json={})
    assert answer.status_code == 404 and answer.json()["error"]["type"] == "invalid_request_error"
    answer = post(app, "/v1/models", json={})
    assert answer.status_code == 405 and answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/static/..%2f..%2fetc/passwd", "/v1/models/..%2f..", "//x", "/%00"]
)
def test_path_tricks_find_nothing(app: Any, path: str) -> None:
    assert ask(app, "GET", httpx.URL("http://localhost", raw_path=path.encode())).status_code in (400, 404)


@pytest.mark.parametrize("said", [True, False], ids=["said", "chunked"])
def test_large_body_is_refused_while_it_comes(app: Any, said: bool) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 1000
            yield b"x" * 1000

    headers = {"content-type": "application/json"} | ({"content-length": "10000000"} if said else {})
    answer = post(app, content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert sent <= (0 if said else LIMITS["body_bytes"] + 1000)


def test_errors_of_perspective_are_in_googles_form(app: Any) -> None:
    answer = post(app, "/v1alpha1/nothing", json={})
    assert answer.json()["error"]["status"] == "NOT_FOUND" and answer.json()["error"]["code"] == 404
