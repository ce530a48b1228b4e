"""`POST /v1alpha1/comments:analyze`: the Perspective API with our scorers. Programs written for it change only the URL.

An attribute's name is a scorer's attribute in upper case (TOXICITY). The primary scorer answers or, if it does not have
the attribute, the first scorer that does; TOXICITY@name selects a scorer. If a request names several languages, the
first for which the scorer has evidence counts. If it names none, the detected language counts or, for a short comment,
the most likely one.

Differences from the API: HTML comments are rejected, which the API documents, and so is suggestscore. No comment is
stored, nor logged if doNotStore is set.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Body, Request
from fastapi.responses import JSONResponse, Response

from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.request_log import log_fields
from detox_ray.serve.http.strict_json import JsonRoute
from detox_ray.serve.perspective import discovery, sentence_spans
from detox_ray.serve.perspective.wire_format import (
    AnalyzeRequest,
    AnalyzeResponse,
    AttributeScores,
    PerspectiveScore,
    SpanScore,
    parse_request,
    perspective_error,
    supported_code,
    unsupported_language,
)
from detox_ray.serve.workers.scoring import DetectedLanguage, Judgement, ScorerCard
from detox_ray.storage.tables import OK, UNSUPPORTED

SCHEMA = AnalyzeRequest.model_json_schema(ref_template="#/components/schemas/{model}")


class RequestedAttribute(NamedTuple):
    """An attribute of a request, and the scorer that answers it."""

    name: str  # in the request
    scorer: ScorerCard
    attribute: str  # the scorer's name for it
    threshold: float


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes comments:analyze and $discovery/rest."""
    router = APIRouter(tags=["Perspective"], route_class=JsonRoute)
    cards: list[ScorerCard] = []  # do not change while the service runs

    @router.post(
        "/v1alpha1/comments:analyze",
        response_class=Response,
        responses={200: {"model": AnalyzeResponse}},
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": _inline_definitions(SCHEMA)}}}},
    )
    async def analyze(body: Annotated[Any, Body()], request: Request) -> Response:
        """Score one comment."""
        analyze_request = parse_request(body)
        if not analyze_request.do_not_store:
            log_fields(request, prompt=analyze_request.comment.text)
        if not cards:
            cards.extend(await gateway.ask(gateway.scoring.cards))
        attributes = resolve_attributes(analyze_request, cards, gateway.spec.primary)
        answer = await analyze_comment(gateway, analyze_request, attributes)
        return JSONResponse({name: value for name, value in answer.model_dump().items() if value})

    @router.get(discovery.PATH)
    async def discover(request: Request, version: str = discovery.VERSION) -> Response:
        """Return the API's discovery document, with the address of the request as the service's."""
        if version != discovery.VERSION:
            raise RequestError(404, f"version: only {discovery.VERSION} is served", "version")
        scheme = request.headers.get("x-forwarded-proto", request.url.scheme)  # set by a proxy that terminates TLS
        root = request.base_url.replace(scheme="https" if scheme == "https" else "http")
        return JSONResponse(discovery.document(str(root)))

    return router


def resolve_attributes(
    request: AnalyzeRequest, cards: Sequence[ScorerCard], primary: str | None
) -> list[RequestedAttribute]:
    """Choose the scorer that answers each attribute. Raises RequestError for an attribute that no scorer has."""
    cards_in_order = sorted(cards, key=lambda card: card.name != primary)
    attributes = []
    for requested, parameters in request.requested_attributes.items():
        name, at, scorer = requested.partition("@")
        able = [card for card in cards_in_order if name.lower() in card.attributes and (not at or card.name == scorer)]
        if not able or not name.isupper():
            known = sorted({known.upper() for card in cards for known in card.attributes})
            rule = f"Unknown requested attribute: {requested[:100]} (known: {', '.join(known) or 'none'})"
            raise perspective_error("INVALID_REQUEST", rule)
        attributes.append(RequestedAttribute(requested, able[0], name.lower(), parameters.score_threshold))
    return attributes


async def analyze_comment(
    gateway: Gateway, request: AnalyzeRequest, attributes: Sequence[RequestedAttribute]
) -> AnalyzeResponse:
    """Score a comment. Raises RequestError if an attribute cannot be answered: no value is invented."""
    text = request.comment.text
    detected: DetectedLanguage = await gateway.ask(gateway.scoring.detect, text)
    detected_languages = [detected.guess] if detected.guess is not None else []
    candidates = [supported_code(code) for code in request.languages or detected_languages]
    spans = sentence_spans.sentences(text) if request.span_annotations else sentence_spans.whole(text)
    # The whole comment comes first. If it is the only span, it is scored once.
    texts = list(dict.fromkeys([text, *(text[span.begin : span.end] for span in spans)]))
    answers: dict[str, AttributeScores] = {}
    for scorer in {attribute.scorer.name: attribute.scorer for attribute in attributes}.values():
        own_attributes = [attribute for attribute in attributes if attribute.scorer.name == scorer.name]
        language = _language(own_attributes[0], candidates, request.languages, detected_languages)
        judgements: list[Judgement] = await gateway.ask(gateway.scoring.judge_all, texts, language, [scorer.name])
        scores = {part: judgement.scores[scorer.name] for part, judgement in zip(texts, judgements, strict=True)}
        gateway.metrics.count_scores(scorer.name, [score.status for score in scores.values()])
        for attribute in own_attributes:
            summary = scores[text]
            if summary.status == UNSUPPORTED:
                raise unsupported_language(attribute.name, request.languages, detected_languages)
            if summary.status != OK:
                reason = summary.reason or summary.status
                raise RequestError(503, f"{scorer.name} could not score the comment: {reason}")
            if summary.values[attribute.attribute] < attribute.threshold:
                continue
            span_scores = []
            for span in spans:
                score = scores[text[span.begin : span.end]]
                if score.status == OK:
                    value = PerspectiveScore(value=score.values[attribute.attribute])
                    span_scores.append(SpanScore(**sentence_spans.utf16(text, span)._asdict(), score=value))
            answers[attribute.name] = AttributeScores(
                summaryScore=PerspectiveScore(value=summary.values[attribute.attribute]), spanScores=span_scores
            )
    return AnalyzeResponse(
        attributeScores=answers,
        languages=request.languages or detected_languages,
        detectedLanguages=detected_languages,
        clientToken=request.client_token,
    )


def _language(
    attribute: RequestedAttribute, candidates: Sequence[str], requested: Sequence[str], detected: Sequence[str]
) -> str | None:
    """Return the language to score a comment in. Raises RequestError if the scorer has evidence for no candidate."""
    if attribute.scorer.languages is None:
        return candidates[0] if candidates else None
    if not candidates:
        raise perspective_error("LANGUAGE_DETECTION_FAILED", "Unable to detect language")
    supported = [code for code in candidates if code in attribute.scorer.languages]
    if not supported:
        raise unsupported_language(attribute.name, requested, detected)
    return supported[0]


def _inline_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace a schema's references by their definitions, because FastAPI fills the document's components itself."""
    definitions = schema.get("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inline(definitions[value["$ref"].rpartition("/")[2]])
        return {name: inline(item) for name, item in value.items() if name != "$defs"}

    inlined: dict[str, Any] = inline(schema)
    return inlined
