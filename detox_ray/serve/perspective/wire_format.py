"""The Perspective API's wire format: the fields of a request, and the API's error messages.

Source: docs/papers.md, "The Perspective API". A request is parsed as Google's JSON parser parses a protocol message: a
field may have its camelCase or its snake_case name, null means that it is missing, a number may be a string, and an
unknown name is an error that names it. Fields that the API accepts without using them (context, sessionId,
communityId) are also accepted here.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError
from pydantic.alias_generators import to_camel

from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.http.errors import RequestError, field_path
from detox_ray.serve.http.strict_json import StrictBody

MAX_BYTES = 20_480  # size of a comment, according to the API's page on limits
PLAIN_TYPES = ("PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED")
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


class _Message(StrictBody):
    """A protocol message."""

    model_config = ConfigDict(strict=False, alias_generator=to_camel, populate_by_name=True)


class TextEntry(_Message):
    text: StrictStr = ""
    type: Literal["PLAIN_TEXT", "HTML", "TEXT_TYPE_UNSPECIFIED"] = "PLAIN_TEXT"


class ArticleAndParentComment(_Message):
    article: TextEntry = TextEntry()
    parent_comment: TextEntry = TextEntry()


class CommentContext(_Message):
    entries: list[TextEntry] = Field(default_factory=list)
    article_and_parent_comment: ArticleAndParentComment | None = None


class AttributeParameters(_Message):
    score_type: Literal["PROBABILITY", "SCORE_TYPE_UNSPECIFIED", "STD_DEV_SCORE", "PERCENTILE", "RAW"] = "PROBABILITY"
    score_threshold: float = Field(0, description="scores below it are left out")


class AnalyzeRequest(_Message):
    comment: TextEntry = TextEntry()
    context: CommentContext = CommentContext()
    requested_attributes: dict[Annotated[str, Field(max_length=200)], AttributeParameters] = Field(default_factory=dict)
    span_annotations: StrictBool = False
    languages: Annotated[list[StrictStr], Field(max_length=100)] = Field(default_factory=list)
    do_not_store: StrictBool = False
    client_token: StrictStr = ""
    session_id: StrictStr = ""
    community_id: StrictStr = ""


class PerspectiveScore(BaseModel):
    value: float
    type: str = PROBABILITY


class SpanScore(BaseModel):
    """The score of a part of the comment, in UTF-16 code units; ``end`` is exclusive."""

    begin: int
    end: int
    score: PerspectiveScore


class AttributeScores(BaseModel):
    spanScores: list[SpanScore]
    summaryScore: PerspectiveScore


class AnalyzeResponse(BaseModel):
    """The scores of a comment. Empty fields are left out of the answer."""

    attributeScores: dict[str, AttributeScores] = {}
    languages: list[str] = []
    detectedLanguages: list[str] = []
    clientToken: str = ""


def parse_request(body: Any) -> AnalyzeRequest:
    """Parse a request. Raises RequestError with the API's message if the API would reject it."""
    try:
        request = AnalyzeRequest.model_validate(body)
    except ValidationError as error:
        raise _malformed(error, body) from None
    context, text = request.context, request.comment.text
    if not text.strip():
        raise perspective_error("COMMENT_EMPTY", "Comment must be non-empty.")
    if len(text.encode()) > MAX_BYTES:
        raise perspective_error("COMMENT_TOO_LONG", "Comment text too long.")
    if request.comment.type not in PLAIN_TYPES:
        raise perspective_error("INVALID_REQUEST", "Currently, only 'PLAIN_TEXT' comments are supported")
    if context.entries and context.article_and_parent_comment is not None:
        rule = "Context can have either entries or article_and_parent_comment, but both fields were populated."
        raise perspective_error("INVALID_REQUEST", rule)
    if not request.requested_attributes:
        raise perspective_error("NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes")
    for name, parameters in request.requested_attributes.items():
        if parameters.score_type not in (PROBABILITY, "SCORE_TYPE_UNSPECIFIED"):
            rule = f"Requested score type {parameters.score_type} is not supported by attribute {name}"
            raise perspective_error("INVALID_REQUEST", rule)
    return request


def perspective_error(kind: ErrorType, message: str, **details: Any) -> RequestError:
    """Return a 400 in the API's form."""
    return RequestError(400, message, details=[{"@type": _DETAIL, "errorType": kind, **details}])


def unsupported_language(attribute: str, requested: Sequence[str], detected: Sequence[str]) -> RequestError:
    """Return the error for an attribute that no scorer can answer in any of the languages."""
    languages = {"requestedLanguages": list(requested)} if requested else {"detectedLanguages": list(detected)}
    message = f"Attribute {attribute} does not support request languages: {', '.join(requested or detected)}"
    return perspective_error(
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        message[:1000],
        languageNotSupportedByAttributeError={**languages, "attribute": attribute},
    )


def supported_code(code: str) -> str:
    """Map an ISO or BCP-47 code to one of our languages.

    A region is ignored. A code with an unusual script for its language (hi-Latn, zh-Hant) is unknown. Unknown codes are
    returned unchanged.
    """
    base, *rest = code.split("-")
    known = LANGUAGES.get(base.lower())
    scripts = [part.title() for part in rest if len(part) == 4]
    return code if known is None or (scripts and scripts[0] != known.script) else known.code


def _malformed(error: ValidationError, body: Any) -> RequestError:
    problem = error.errors()[0]
    path, kind = field_path(("body", *problem["loc"]), body), problem["type"]
    if kind == "extra_forbidden":
        parent, _, name = path.rpartition(".")
        at = f" at '{parent}'" if parent else ""
        message = f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'
    else:
        message = f"Invalid value at '{path}': {problem['msg']}" if path else f"Invalid value: {problem['msg']}"
    violation = {"description": message} | ({"field": path} if path else {})
    return RequestError(400, message, path or None, details=[{"@type": _BAD_REQUEST, "fieldViolations": [violation]}])
