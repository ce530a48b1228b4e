"""What a client is told where vLLM refuses a request or fails: the status, and the field that is at fault.

Imported by engines only.
"""

import logging
from collections.abc import Collection
from http import HTTPStatus

import pydantic

from detox_ray.serve.http.errors import Refused

log = logging.getLogger("ray.serve")

_OURS = {"input_tokens": "messages"}  # vLLM's word for a rendered chat that is too long; prompts are checked before
_FAILED = Refused(500, "the engine failed on this request", code="engine_failed")
DEAD = Refused(503, "the model's engine has died and is being replaced: try again", code="engine_dead")


def refusal(error: Exception, given: Collection[str]) -> Refused:
    """``given``: the fields of the request."""
    from vllm.entrypoints.serve import create_error_response
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, Refused):
        return error
    if isinstance(error, EngineDeadError):
        return DEAD
    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        return Refused(400, f"{name}: {first['msg']}" if name else first["msg"], name)
    told = create_error_response(error).error  # vLLM's own table of exceptions
    if told.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error)
        return _FAILED
    message = _plain(error, told.message)
    return Refused(told.code, message, _OURS.get(told.param or "", told.param) or field(message, given))


def field(message: str, given: Collection[str]) -> str | None:
    """The field that a refusal of vLLM is about, where it names none: its messages begin with it."""
    first = message.split(maxsplit=1)[0].strip("`'\":,.").partition("[")[0] if message else ""
    return first if first in given else None


def _plain(error: Exception, message: str) -> str:
    """Without vLLM's "(parameter=…, value=…)" at its end, which repeats what was sent: that may be a prompt."""
    return str(error.args[0]) if getattr(error, "parameter", None) and error.args else message
