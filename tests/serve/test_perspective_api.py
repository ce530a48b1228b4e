"""The Perspective wire format: requests of programs written for Google's service, and their answers."""

import asyncio
from typing import Any, NamedTuple

import httpx
import pytest
from fake_gateway import client_of
from fake_scoring import compared

from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.perspective.sentence_spans import MAX_SENTENCES, sentences, utf16
from detox_ray.serve.perspective.wire_format import MAX_BYTES, supported_code

PATH = "/v1alpha1/comments:analyze"
TOXICITY: dict[str, Any] = {"requestedAttributes": {"TOXICITY": {}}}


class Service(NamedTuple):
    app: Any
    scoring: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Service:
    gateway = compared(tmp_path_factory.mktemp("run"))
    return Service(fastapi_app(gateway), gateway.scoring)


def post(made: Service, body: Any = None, content: bytes | None = None) -> httpx.Response:
    async def go() -> httpx.Response:
        async with client_of(made.app) as http:
            headers = {"content-type": "application/json"}
            if content is not None:
                return await http.post(PATH, content=content, headers=headers)
            return await http.post(PATH, json=body)

    return asyncio.run(go())


def comment(text: str, **more: Any) -> dict[str, Any]:
    return {"comment": {"text": text}, **TOXICITY, **more}


def error(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    told: dict[str, Any] = response.json()["error"]
    assert told["code"] == status and told["message"] and told["status"]
    return told


def kind(response: httpx.Response) -> str:
    told = error(response)
    assert told["status"] == "INVALID_ARGUMENT"
    (detail,) = told["details"]
    assert detail["@type"] == "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
    return str(detail["errorType"])


def test_a_comment_is_answered_in_the_apis_form(made: Service) -> None:
    assert post(made, comment("you idiot", clientToken="t1")).json() == {
        "attributeScores": {
            "TOXICITY": {
                "summaryScore": {"value": 0.25, "type": "PROBABILITY"},
                "spanScores": [{"begin": 0, "end": 9, "score": {"value": 0.25, "type": "PROBABILITY"}}],
            }
        },
        "languages": ["en"],
        "detectedLanguages": ["en"],
        "clientToken": "t1",
    }


def test_spans_are_sentences_in_utf16(made: Service) -> None:
    body = comment("😀 Hi. You idiot, idiot! Bye", spanAnnotations=True)
    scores = post(made, body).json()["attributeScores"]["TOXICITY"]
    assert scores["summaryScore"]["value"] == 0.5
    assert [(each["begin"], each["end"], each["score"]["value"]) for each in scores["spanScores"]] == [
        (0, 6, 0.0),
        (7, 24, 0.5),
        (25, 28, 0.0),
    ]


def test_the_primary_scorer_answers_and_another_what_it_does_not_know(made: Service) -> None:
    asked: dict[str, Any] = {"TOXICITY": {}, "SEVERE_TOXICITY": {}, "TOXICITY@classifier": {}}
    answer = post(made, comment("idiot idiot") | {"requestedAttributes": asked}).json()
    assert list(answer["attributeScores"]) == list(asked)
    assert [scorers for _, _, scorers in made.scoring.asked[-2:]] == [["insults"], ["classifier"]]


def test_scores_below_the_threshold_are_left_out(made: Service) -> None:
    asked = {"TOXICITY": {"scoreThreshold": 0.3}}
    below = post(made, comment("idiot", languages=["en"]) | {"requestedAttributes": asked}).json()
    assert below == {"languages": ["en"], "detectedLanguages": ["en"]}
    at = post(made, comment("idiot") | {"requestedAttributes": {"TOXICITY": {"scoreThreshold": "0.25"}}}).json()
    assert at["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == 0.25


def test_fields_may_be_in_snake_case_and_null(made: Service) -> None:
    body = {
        "comment": {"text": "idiot", "type": "PLAIN_TEXT"},
        "requested_attributes": {"TOXICITY": {"score_type": "PROBABILITY", "score_threshold": None}},
        "context": {"entries": [{"text": "before"}]},
        "do_not_store": True,
        "client_token": "t",
        "languages": None,
        "sessionId": "s",
        "communityId": "c",
    }
    answer = post(made, body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["clientToken"] == "t"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"comment": {"text": ""}}, "COMMENT_EMPTY"),
        ({"comment": {"text": " \n"}}, "COMMENT_EMPTY"),
        ({"comment": None}, "COMMENT_EMPTY"),
        ({"comment": {"text": "ü" * (MAX_BYTES // 2 + 1)}}, "COMMENT_TOO_LONG"),
        ({"comment": {"text": "<b>x</b>", "type": "HTML"}}, "INVALID_REQUEST"),
        ({"requestedAttributes": {}}, "NO_REQUESTED_ATTRIBUTES"),
        ({"requestedAttributes": {"FLIRTATION": {}}}, "INVALID_REQUEST"),
        ({"requestedAttributes": {"toxicity": {}}}, "INVALID_REQUEST"),
        ({"requestedAttributes": {"TOXICITY@nobody": {}}}, "INVALID_REQUEST"),
        ({"requestedAttributes": {"TOXICITY": {"scoreType": "RAW"}}}, "INVALID_REQUEST"),
        ({"context": {"entries": [{"text": "x"}], "articleAndParentComment": {}}}, "INVALID_REQUEST"),
        ({"languages": ["fr"]}, "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"),
        ({"comment": {"text": "??"}}, "LANGUAGE_DETECTION_FAILED"),
    ],
)
def test_what_cannot_be_answered_is_told_in_googles_form(made: Service, change: Any, expected: str) -> None:
    assert kind(post(made, comment("idiot") | change)) == expected


def test_an_unsupported_language_is_named_with_its_attribute(made: Service) -> None:
    told = error(post(made, comment("idiot", languages=["fr", "is"])))
    assert told["message"] == "Attribute TOXICITY does not support request languages: fr, is"
    assert told["details"][0]["languageNotSupportedByAttributeError"] == {
        "requestedLanguages": ["fr", "is"],
        "attribute": "TOXICITY",
    }


def test_a_scorer_of_all_languages_needs_none(made: Service) -> None:
    answer = post(made, comment("??") | {"requestedAttributes": {"TOXICITY@classifier": {}}}).json()
    assert "languages" not in answer and "detectedLanguages" not in answer
    assert answer["attributeScores"]["TOXICITY@classifier"]["summaryScore"]["value"] == 0.0


def test_of_several_languages_the_first_known_one_is_taken(made: Service) -> None:
    assert post(made, comment("idiot", languages=["fr", "de-AT", "en"])).json()["languages"] == ["fr", "de-AT", "en"]
    assert made.scoring.asked[-1][1] == "de"


@pytest.mark.parametrize(
    ("code", "ours"),
    [("EN", "en"), ("pt-BR", "pt"), ("zh-Hans-CN", "zh"), ("zh-Hant", "zh-Hant"), ("hi-Latn", "hi-Latn")],
)
def test_a_region_is_the_same_language_and_another_script_is_not(code: str, ours: str) -> None:
    assert supported_code(code) == ours


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"foo": 1}, "foo"),
        ({"comment": {"text": "x", "foo": 1}}, "comment.foo"),
        ({"comment": {"text": 1}}, "comment.text"),
        ({"comment": {"text": "x", "type": "MARKDOWN"}}, "comment.type"),
        ({"languages": "en"}, "languages"),
        ({"requestedAttributes": {"TOXICITY": None}}, "requestedAttributes.TOXICITY"),
        ({"spanAnnotations": "yes"}, "spanAnnotations"),
    ],
)
def test_a_malformed_request_names_the_field_as_googles_parser_does(made: Service, change: Any, field: str) -> None:
    told = error(post(made, comment("idiot") | change))
    (detail,) = told["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    (violation,) = detail["fieldViolations"]
    assert violation["field"] == field
    assert violation["description"] == told["message"]
    if field.endswith("foo"):
        assert 'Unknown name "foo"' in told["message"] and told["message"].endswith("Cannot find field.")


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[]", b"\xff\xfe", b'{"comment": {"text": "\\ud800"}}', b"[" * 100_000]
)
def test_what_is_no_json_object_is_googles_error(made: Service, content: bytes) -> None:
    assert error(post(made, content=content))["status"] == "INVALID_ARGUMENT"


def test_a_comment_that_a_scorer_fails_at_gets_no_value(made: Service) -> None:
    told = error(post(made, comment("odd")), 503)
    assert told["status"] == "UNAVAILABLE" and "is odd" in told["message"]


def test_the_discovery_document_leads_back_here(made: Service) -> None:
    async def go() -> list[httpx.Response]:
        async with client_of(made.app) as http:
            return [
                await http.get("/$discovery/rest?version=v1alpha1"),
                await http.get("/$discovery/rest", headers={"x-forwarded-proto": "https"}),
                await http.get("/$discovery/rest?version=v2"),
            ]

    plain, behind_tls, other = asyncio.run(go())
    assert plain.json()["rootUrl"] == "http://localhost/"
    assert behind_tls.json()["rootUrl"] == "https://localhost/"
    assert other.status_code == 404


def test_sentences_end_where_each_script_ends_them() -> None:
    for text, parts in (
        ('Hi there. You? "Go!" Now', ["Hi there.", "You?", '"Go!"', "Now"]),
        ("你好。你是傻瓜！走", ["你好。", "你是傻瓜！", "走"]),
        ("तुम मूर्ख हो। जाओ", ["तुम मूर्ख हो।", "जाओ"]),
        ("It is 3.5 big\nand so", ["It is 3.5 big", "and so"]),
        (" \n ", []),
    ):
        assert [text[span.begin : span.end] for span in sentences(text)] == parts


def test_sentences_are_bounded_and_lose_nothing() -> None:
    text = "a. " * 1000
    found = sentences(text)
    assert len(found) == MAX_SENTENCES
    assert found[-1].end == len(text.rstrip()) == utf16(text, found[-1]).end
