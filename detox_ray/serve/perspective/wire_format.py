"""The Perspective API's wire format: what a request may hold, and its errors in Google's words.

Source: docs/papers.md, "The Perspective API". A request is read as Google's JSON parser reads a protocol message: a
field may have its camelCase or its snake_case name, null means not given, a number may be a string, and an unknown name
is an error that says so. What the API takes without a use for it (context, sessionId, communityId) is taken here, too.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from pydantic.alias_generators import to_camel

from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.http.errors import Refused, field
from detox_ray.serve.openai.requests import Body

MAX_BYTES = 20_480  # of a comment, as the API's page on limits says
PLAIN = ("PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED")
PROBABILITY = "PROBABILITY"
_DETAIL = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"

ErrorType = Literal[
    "COMMENT_EMPTY",
    "COMMENT_TOO_LONG",
    "NO_REQUESTED_ATTRIBUTES",
    "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
    "LANGUAGE_DETECTION_FAILED",
    "INVALID_REQUEST",
]


class _Message(Body):
    """A protocol message."""

    model_config = ConfigDict(strict=False, alias_generator=to_camel, populate_by_name=True)


class TextEntry(_Message):
    text: StrictStr = ""
    type: Literal["PLAIN_TEXT", "HTML", "TEXT_TYPE_UNSPECIFIED"] = "PLAIN_TEXT"


class ArticleAndParentComment(_Message):
    article: TextEntry = TextEntry()
    parent_comment: TextEntry = TextEntry()


class Context(_Message):
    entries: list[TextEntry] = Field(default_factory=list)
    article_and_parent_comment: ArticleAndParentComment | None = None


class AttributeParameters(_Message):
    score_type: Literal["PROBABILITY", "SCORE_TYPE_UNSPECIFIED", "STD_DEV_SCORE", "PERCENTILE", "RAW"] = "PROBABILITY"
    score_threshold: float = Field(0, description="no score below it is returned")


class AnalyzeRequest(_Message):
    comment: TextEntry = TextEntry()
    context: Context = Context()
    requested_attributes: dict[Annotated[str, Field(max_length=200)], AttributeParameters] = Field(default_factory=dict)
    span_annotations: StrictBool = False
    languages: Annotated[list[StrictStr], Field(max_length=100)] = Field(default_factory=list)
    do_not_store: StrictBool = False
    client_token: StrictStr = ""
    session_id: StrictStr = ""
    community_id: StrictStr = ""


class Score(BaseModel):
    value: float
    type: str = PROBABILITY


class SpanScore(BaseModel):
    """Of a part of the comment: UTF-16 code units, ``end`` exclusive."""

    begin: int
    end: int
    score: Score


class AttributeScores(BaseModel):
    spanScores: list[SpanScore]
    summaryScore: Score


class AnalyzeResponse(BaseModel):
    """What is empty is left out."""

    attributeScores: dict[str, AttributeScores] = {}
    languages: list[str] = []
    detectedLanguages: list[str] = []
    clientToken: str = ""


def read(given: Any) -> AnalyzeRequest:
    """The request. Raises Refused as the API would refuse it."""
    try:
        request = AnalyzeRequest.model_validate(given)
    except ValidationError as error:
        raise _malformed(error, given) from None
    context, text = request.context, request.comment.text
    if not text.strip():
        raise refused("COMMENT_EMPTY", "Comment must be non-empty.")
    if len(text.encode()) > MAX_BYTES:
        raise refused("COMMENT_TOO_LONG", "Comment text too long.")
    if request.comment.type not in PLAIN:
        raise refused("INVALID_REQUEST", "Currently, only 'PLAIN_TEXT' comments are supported")
    if context.entries and context.article_and_parent_comment is not None:
        rule = "Context can have either entries or article_and_parent_comment, but both fields were populated."
        raise refused("INVALID_REQUEST", rule)
    if not request.requested_attributes:
        raise refused("NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes")
    for name, parameters in request.requested_attributes.items():
        if parameters.score_type not in (PROBABILITY, "SCORE_TYPE_UNSPECIFIED"):
            rule = f"Requested score type {parameters.score_type} is not supported by attribute {name}"
            raise refused("INVALID_REQUEST", rule)
    return request


def refused(kind: ErrorType, message: str, **details: Any) -> Refused:
    """400 in the API's form."""
    return Refused(400, message, details=[{"@type": _DETAIL, "errorType": kind, **details}])


def unsupported(attribute: str, requested: Sequence[str], detected: Sequence[str]) -> Refused:
    """No scorer of the attribute has evidence for any of the languages."""
    named = {"requestedLanguages": list(requested)} if requested else {"detectedLanguages": list(detected)}
    message = f"Attribute {attribute} does not support request languages: {', '.join(requested or detected)}"
    return refused(
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        message[:1000],
        languageNotSupportedByAttributeError={**named, "attribute": attribute},
    )


def our_language(code: str) -> str:
    """Of an ISO or BCP-47 code: a region changes nothing, another script than ours does (hi-Latn, zh-Hant)."""
    base, *rest = code.split("-")
    known = LANGUAGES.get(base.lower())
    scripts = [part.title() for part in rest if len(part) == 4]
    return code if known is None or (scripts and scripts[0] != known.script) else known.code


def _malformed(error: ValidationError, given: Any) -> Refused:
    problem = error.errors()[0]
    where, kind = field(("body", *problem["loc"]), given), problem["type"]
    if kind == "extra_forbidden":
        parent, _, name = where.rpartition(".")
        at = f" at '{parent}'" if parent else ""
        message = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
    else:
        message = f"Invalid value at '{where}': {problem['msg']}" if where else f"Invalid value: {problem['msg']}"
    violation = {"description": message} | ({"field": where} if where else {})
    return Refused(400, message, where or None, details=[{"@type": _BAD_REQUEST, "fieldViolations": [violation]}])
