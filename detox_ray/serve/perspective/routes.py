"""`POST /v1alpha1/comments:analyze`: the Perspective API over our scorers. A program written for it changes its URL.

An attribute is a scorer's in upper case (TOXICITY). It is answered by the primary scorer, or where that does not know
it, by the first that does; TOXICITY@name asks the scorer of that name. Of several languages the first that the scorer
has evidence for is taken; without any, the one detected, or in a short comment the likeliest.

What differs from the API: HTML and suggestscore are refused as it documents for the former, and a comment is stored
nowhere (nor logged with doNotStore).
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse, Response

from detox_ray.serve.http.errors import Refused
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import note
from detox_ray.serve.openai.requests import JsonRoute
from detox_ray.serve.perspective import discovery
from detox_ray.serve.perspective import sentence_spans as spans
from detox_ray.serve.perspective.wire_format import (
    AnalyzeRequest,
    AnalyzeResponse,
    AttributeScores,
    Score,
    SpanScore,
    our_language,
    read,
    refused,
    unsupported,
)
from detox_ray.serve.workers.scoring import Detected, Judged, ScorerCard
from detox_ray.storage.tables import OK, UNSUPPORTED

SCHEMA = AnalyzeRequest.model_json_schema(ref_template="#/components/schemas/{model}")


class Part(NamedTuple):
    """What is asked for under one attribute's name."""

    attribute: str  # as it was named
    scorer: ScorerCard
    value: str  # the attribute as the scorer names it
    threshold: float


def routes(gateway: Gateway) -> APIRouter:
    """comments:analyze, and the document that Google's clients are made from."""
    router = APIRouter(tags=["Perspective"], route_class=JsonRoute)
    cards: list[ScorerCard] = []  # they do not change while the service runs

    @router.post(
        "/v1alpha1/comments:analyze",
        response_class=Response,
        responses={200: {"model": AnalyzeResponse}},
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": _inlined(SCHEMA)}}}},
    )
    async def analyze(body: Annotated[Any, Body()], request: Request) -> Response:
        """Scores of one comment."""
        asked = read(body)
        note(request, **({} if asked.do_not_store else {"prompt": asked.comment.text}))
        if not cards:
            cards.extend(await gateway.ask(gateway.scoring.cards))
        parts = parts_of(asked, cards, gateway.served.primary)
        answer = await analyzed(gateway, asked, parts)
        return JSONResponse({name: value for name, value in answer.model_dump().items() if value})

    @router.get(discovery.PATH)
    async def discover(request: Request, version: str = discovery.VERSION) -> Response:
        """The API's discovery document: of this service, at the address that it was asked for at."""
        if version != discovery.VERSION:
            raise Refused(404, f"version: only {discovery.VERSION} is served", "version")
        scheme = request.headers.get("x-forwarded-proto", request.url.scheme)  # of a proxy that ends TLS
        root = request.base_url.replace(scheme="https" if scheme == "https" else "http")
        return JSONResponse(discovery.document(str(root)))

    return router


def parts_of(asked: AnalyzeRequest, cards: Sequence[ScorerCard], primary: str | None) -> list[Part]:
    """Which scorer answers which attribute. Raises Refused for one that none knows."""
    in_order = sorted(cards, key=lambda card: card.name != primary)
    parts = []
    for attribute, parameters in asked.requested_attributes.items():
        name, at, scorer = attribute.partition("@")
        able = [card for card in in_order if name.lower() in card.attributes and (not at or card.name == scorer)]
        if not able or not name.isupper():
            known = sorted({known.upper() for card in cards for known in card.attributes})
            rule = f"Unknown requested attribute: {attribute[:100]} (known: {', '.join(known) or 'none'})"
            raise refused("INVALID_REQUEST", rule)
        parts.append(Part(attribute, able[0], name.lower(), parameters.score_threshold))
    return parts


async def analyzed(gateway: Gateway, asked: AnalyzeRequest, parts: Sequence[Part]) -> AnalyzeResponse:
    """The answer. Raises Refused where a part cannot be answered: none gets a made-up value."""
    text = asked.comment.text
    detected: Detected = await gateway.ask(gateway.scoring.detect, text)
    found = [detected.guess] if detected.guess is not None else []
    candidates = [our_language(code) for code in asked.languages or found]
    pieces = spans.sentences(text) if asked.span_annotations else spans.whole(text)
    answers: dict[str, AttributeScores] = {}
    for scorer in {part.scorer.name: part.scorer for part in parts}.values():
        mine = [part for part in parts if part.scorer.name == scorer.name]
        language = _language(mine[0], candidates, asked.languages, found)
        # The comment as a whole comes first; where it is the only piece it is asked for once.
        texts = list(dict.fromkeys([text, *(text[piece.begin : piece.end] for piece in pieces)]))
        judged: list[Judged] = await gateway.ask(gateway.scoring.judge_all, texts, language, [scorer.name])
        scored = {each: one.scores[scorer.name] for each, one in zip(texts, judged, strict=True)}
        gateway.metrics.scores(scorer.name, [one.status for one in scored.values()])
        for part in mine:
            summary = scored[text]
            if summary.status == UNSUPPORTED:
                raise unsupported(part.attribute, asked.languages, found)
            if summary.status != OK:
                raise Refused(503, f"{scorer.name} could not score the comment: {summary.reason or summary.status}")
            if summary.values[part.value] < part.threshold:
                continue
            answers[part.attribute] = AttributeScores(
                summaryScore=Score(value=summary.values[part.value]),
                spanScores=[
                    SpanScore(**spans.utf16(text, piece)._asdict(), score=Score(value=its.values[part.value]))
                    for piece in pieces
                    if (its := scored[text[piece.begin : piece.end]]).status == OK
                ],
            )
    return AnalyzeResponse(
        attributeScores=answers,
        languages=asked.languages or found,
        detectedLanguages=found,
        clientToken=asked.client_token,
    )


def _language(part: Part, candidates: Sequence[str], requested: Sequence[str], found: Sequence[str]) -> str | None:
    """What the scorer is told. Raises Refused where it has evidence for none of the languages."""
    if part.scorer.languages is None:
        return candidates[0] if candidates else None
    if not candidates:
        raise refused("LANGUAGE_DETECTION_FAILED", "Unable to detect language")
    able = [code for code in candidates if code in part.scorer.languages]
    if not able:
        raise unsupported(part.attribute, requested, found)
    return able[0]


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose definitions stand where they are used: the document's components are FastAPI's own."""
    definitions = schema.get("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return put(definitions[value["$ref"].rpartition("/")[2]])
        return {name: put(each) for name, each in value.items() if name != "$defs"}

    made: dict[str, Any] = put(schema)
    return made
