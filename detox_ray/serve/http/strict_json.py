"""Strict JSON bodies, checked once, when a request arrives.

Strict means: no unknown field, no NaN, no "3" for 3, no invalid UTF-8 or lone surrogate, no excessive nesting, and no
other content type (browsers let a web page send text/plain to another origin without asking it, but not JSON). A field
that is null counts as missing, and so does an unsupported field with a value that changes nothing.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import from_json

from detox_ray.serve.http.errors import RequestError


class StrictBody(BaseModel):
    """A JSON object in a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    # Unsupported fields, with the values at which they change nothing. Clients such as LangChain send them even if the
    # user has not set them. With any other value, they are rejected by name, like unknown fields.
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({})

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None and not cls._is_neutral(name, value)}

    @classmethod
    def _is_neutral(cls, name: str, value: Any) -> bool:
        # 0 == False in Python, but not in JSON.
        return any(type(value) is type(one) and value == one for one in cls.neutral.get(name, ()))


class JsonRequest(Request):
    """A request whose body is parsed strictly."""

    async def json(self) -> Any:
        """Parse the body. Raises RequestError if it is not JSON.

        Python's parser is not used, because it accepts lone surrogates, with which no answer could be encoded.
        """
        try:
            return from_json(await self.body())
        except ValueError as error:
            raise RequestError(400, f"the body must be JSON: {error}") from None


class JsonRoute(APIRoute):
    """The ``route_class`` of an APIRouter whose bodies are parsed strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is not None and not _is_json(request.headers.get("content-type", "")):
                raise RequestError(415, "the content type must be application/json")
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
