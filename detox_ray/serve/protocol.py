"""What a client may send: strict JSON bodies, checked once, at the edge.

Strict means: no field that is not known, no NaN, no "3" for 3, no invalid UTF-8 or lone surrogate, no nesting without
end, no other content type: a web page can send text/plain across origins without being asked, JSON it cannot. A field
that is null counts as not given.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import from_json

from detox_ray.serve.errors import Refused


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_not_given(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


class JsonRequest(Request):
    async def json(self) -> Any:
        """Raises Refused. Python's own parser lets lone surrogates in, which no answer could be encoded with."""
        try:
            return from_json(await self.body())
        except ValueError as error:
            raise Refused(400, f"the body must be JSON: {error}") from None


class JsonRoute(APIRoute):
    """Give it to an APIRouter as ``route_class``: bodies are parsed strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is not None and not _says_json(request.headers.get("content-type", "")):
                raise Refused(415, "the content type must be application/json")
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def _says_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
