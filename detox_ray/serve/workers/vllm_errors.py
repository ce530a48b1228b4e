"""Conversion of vLLM's errors into answers, with the status and the wrong field. Only engines import this module."""

import logging
from collections.abc import Collection
from http import HTTPStatus

import pydantic

from detox_ray.models import vllm_internals
from detox_ray.serve.http.errors import RequestError

log = logging.getLogger("ray.serve")

_OUR_NAMES = {"input_tokens": "messages"}  # what vLLM calls a rendered chat that is too long
_ENGINE_FAILED = RequestError(500, "the engine failed on this request", code="engine_failed")
ENGINE_DEAD = RequestError(503, "the model's engine has died and is being replaced: try again", code="engine_dead")


def request_error(error: Exception, fields: Collection[str]) -> RequestError:
    """Return the error with which to answer a request.

    Args:
        error: The exception of vLLM or of our checks.
        fields: The names of the request's fields.

    Returns:
        ``error`` itself if it is a RequestError, ENGINE_DEAD if the engine has died, or a new RequestError.
    """

    if isinstance(error, RequestError):
        return error
    if vllm_internals.is_engine_death(error):
        return ENGINE_DEAD
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        return RequestError(400, f"{name}: {first['msg']}" if name else first["msg"], name)
    response = vllm_internals.described(error)
    if response.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error)
        return _ENGINE_FAILED
    message = _without_value(error, response.message)
    param = _OUR_NAMES.get(response.param or "", response.param) or field_in(message, fields)
    return RequestError(response.code, message, param)


def field_in(message: str, fields: Collection[str]) -> str | None:
    """Return the field that a message of vLLM is about. Such messages begin with the field's name."""
    first = message.split(maxsplit=1)[0].strip("`'\":,.").partition("[")[0] if message else ""
    return first if first in fields else None


def _without_value(error: Exception, message: str) -> str:
    """Remove "(parameter=…, value=…)" from the end of vLLM's message, because the value may be a prompt."""
    return str(error.args[0]) if getattr(error, "parameter", None) and error.args else message
