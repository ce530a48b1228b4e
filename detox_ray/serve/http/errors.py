"""The errors that clients receive: OpenAI's error object, or Google's on the Perspective routes.

Every route raises ``RequestError``; no route writes an error object itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as RoutingError

GOOGLE = ("/v1alpha1/", "/$discovery/")  # paths below these get errors in Google's form

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


class RequestError(HTTPException):
    """A request that is answered with an error.

    Args:
        status: HTTP's status code.
        message: Shown to the client, so it must hold no internals.
        param: The field of the request that is wrong.
        code: A word for programs, such as ``model_not_found``.
        headers: Headers of the answer.
        details: More objects, sent only in Google's form.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ):
        super().__init__(status, message, dict(headers) if headers else None)
        self.message, self.param, self.code, self.details = message, param, code, list(details)


def error_object(error: RequestError, path: str) -> dict[str, Any]:
    """Return the error object of an answer, in the form of the route at ``path``."""
    status = error.status_code
    if path.startswith(GOOGLE):
        word = _GOOGLE_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        google: dict[str, Any] = {"code": status, "message": error.message, "status": word}
        return {"error": google | ({"details": error.details} if error.details else {})}
    return {"error": {"message": error.message, "type": _openai_type(status), "param": error.param, "code": error.code}}


def error_response(error: RequestError, path: str) -> JSONResponse:
    """Return the whole answer to a request that failed."""
    return JSONResponse(error_object(error, path), error.status_code, error.headers)


def validation_error(error: RequestValidationError) -> RequestError:
    """Return a 400 that names every wrong field; the first is ``param``. It quotes no value, which may be a prompt."""
    rules: dict[str, str] = {}
    for problem in error.errors():
        rule = "is not supported" if problem["type"] == "extra_forbidden" else problem["msg"]
        rules.setdefault(field_path(problem["loc"], error.body), rule)
    message = "; ".join(f"{name}: {rule}" if name else rule for name, rule in list(rules.items())[:10])
    return RequestError(400, message, param=next(iter(rules), None) or None)


def replica_error(error: Exception) -> RequestError | None:
    """Return a 503 if a replica is gone or overloaded: the same request may succeed later. None for other errors."""
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

    if isinstance(error, (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)):
        message = "the model's process died or is overloaded, and this request got no answer: try again"
        return RequestError(503, message, code="unavailable", headers={"retry-after": "5"})
    return None


def field_path(loc: Sequence[str | int], body: Any) -> str:
    """Return a field's path in the body, such as ``messages[0].content``.

    Args:
        loc: Pydantic's location of the problem: "body", "query" or "path", then names and indices. Those that name a
            branch of a union, and so do not occur in the body, are left out.
        body: The body that was sent.
    """
    path, value = "", body
    for part in loc[1:]:
        if isinstance(part, int):
            if isinstance(value, list) and part < len(value):
                path, value = f"{path}[{part}]", value[part]
        elif not isinstance(value, dict):
            if loc[0] != "body":
                path = part
        elif part in value:
            path, value = f"{path}.{part}" if path else part, value[part]
        elif part == loc[-1]:  # the field is missing
            path = f"{path}.{part}" if path else part
    return path[:100]


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


class OpenAIError(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer with a status of 400 or above."""

    error: OpenAIError


class GoogleError(BaseModel):
    """Google's error."""

    code: int  # HTTP's status
    message: str
    status: str
    details: list[dict[str, Any]] = []


class GoogleErrorBody(BaseModel):
    """The body of every answer of the Perspective routes with a status of 400 or above."""

    error: GoogleError


_REASONS: dict[int | str, str] = {
    400: "The request is wrong; the error names the field",
    401: "The API key is missing or wrong",
    413: "The body is too large",
    415: "The content type is not application/json",
    429: "Too many requests in flight; see Retry-After",
    500: "The service failed",
    503: "The service is stopping, or a replica is gone; see Retry-After",
    504: "No answer in time",
    "default": "Any other error",
}
Responses = dict[int | str, dict[str, Any]]  # as the OpenAPI document has them
RESPONSES: Responses = {status: {"model": ErrorBody, "description": reason} for status, reason in _REASONS.items()}
GOOGLE_RESPONSES: Responses = {
    status: {"model": GoogleErrorBody, "description": reason} for status, reason in _REASONS.items()
}


async def on_request_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose route raised RequestError."""
    assert isinstance(error, RequestError)
    return error_response(error, request.url.path)


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a request that FastAPI found malformed."""
    assert isinstance(error, RequestValidationError)
    return error_response(validation_error(error), request.url.path)


async def on_routing_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a request for a path that does not exist, or with a method that the path does not have."""
    assert isinstance(error, RoutingError)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return error_response(RequestError(error.status_code, message, headers=error.headers), request.url.path)
