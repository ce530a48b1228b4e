"""What a refused or failed request is told: OpenAI's error object, or Google's on the Perspective route.

Whoever refuses raises ``Refused``; no route writes an error object of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as RoutingError

GOOGLE = ("/v1alpha1/", "/$discovery/")  # below them errors are in Google's form

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_GOOGLE_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refused(HTTPException):
    """A request that gets an error for an answer. The message is shown to the client: it holds no internals."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,  # the request's field that is at fault
        code: str | None = None,  # a word for programs, such as model_not_found
        headers: Mapping[str, str] | None = None,
        details: Sequence[Mapping[str, Any]] = (),  # in Google's form only
    ):
        super().__init__(status, message, dict(headers) if headers else None)
        self.message, self.param, self.code, self.details = message, param, code, list(details)


def kind(status: int) -> str:
    """OpenAI's ``type`` of an error."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def content(refused: Refused, path: str) -> dict[str, Any]:
    """The error object, in the form of the route at ``path``."""
    status = refused.status_code
    if path.startswith(GOOGLE):
        word = _GOOGLE_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        error: dict[str, Any] = {"code": status, "message": refused.message, "status": word}
        return {"error": error | ({"details": refused.details} if refused.details else {})}
    return {"error": {"message": refused.message, "type": kind(status), "param": refused.param, "code": refused.code}}


def response(refused: Refused, path: str) -> JSONResponse:
    """The answer to a refused request."""
    return JSONResponse(content(refused, path), refused.status_code, refused.headers)


def of_validation(error: RequestValidationError) -> Refused:
    """400 that names every field at fault; the first is ``param``. Says nothing of the values: they may be prompts."""
    told: dict[str, str] = {}
    for problem in error.errors():
        rule = "is not supported" if problem["type"] == "extra_forbidden" else problem["msg"]
        told.setdefault(field(problem["loc"], error.body), rule)
    message = "; ".join(f"{name}: {rule}" if name else rule for name, rule in list(told.items())[:10])
    return Refused(400, message, param=next(iter(told), None) or None)


def field(loc: Sequence[str | int], body: Any) -> str:
    """Such as ``messages[0].content``, of pydantic's ``loc``, whose names of union branches are left out."""
    name, value = "", body
    for part in loc[1:]:  # the first says where: body, query, path
        if isinstance(part, int):
            if isinstance(value, list) and part < len(value):
                name, value = f"{name}[{part}]", value[part]
        elif not isinstance(value, dict):
            if loc[0] != "body":
                name = part
        elif part in value:
            name, value = f"{name}.{part}" if name else part, value[part]
        elif part == loc[-1]:  # missing
            name = f"{name}.{part}" if name else part
    return name[:100]


class Said(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What comes with every status from 400 on."""

    error: Said


class GoogleSaid(BaseModel):
    """Google's error."""

    code: int  # HTTP's status
    message: str
    status: str
    details: list[dict[str, Any]] = []


class GoogleErrorBody(BaseModel):
    """What comes with every status from 400 on on the Perspective routes."""

    error: GoogleSaid


_WHEN: dict[int | str, str] = {
    400: "The request is wrong; the error names the field",
    401: "The API key is missing or wrong",
    403: "On loopback: the Host header names another machine",
    413: "The body is too large",
    415: "The content type is not application/json",
    429: "Too many requests in flight; see Retry-After",
    500: "The service failed",
    503: "Stopping, or a replica is gone; see Retry-After",
    504: "No answer in time",
    "default": "Any other error",
}
Responses = dict[int | str, dict[str, Any]]  # of the OpenAPI document
RESPONSES: Responses = {status: {"model": ErrorBody, "description": when} for status, when in _WHEN.items()}
GOOGLE_RESPONSES: Responses = {
    status: {"model": GoogleErrorBody, "description": when} for status, when in _WHEN.items()
}


async def on_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return response(error, request.url.path)


async def on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return response(of_validation(error), request.url.path)


async def on_routing(request: Request, error: Exception) -> JSONResponse:
    """No such path, or a method that it does not have."""
    assert isinstance(error, RoutingError)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return response(Refused(error.status_code, message, headers=error.headers), request.url.path)
