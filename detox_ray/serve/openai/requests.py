"""What a client may send: strict JSON bodies, checked once, at the edge; and OpenAI's requests.

Strict means: no field that is not known, no NaN, no "3" for 3, no invalid UTF-8 or lone surrogate, no nesting without
end, no other content type: a web page can send text/plain across origins without being asked, JSON it cannot. A field
that is null counts as not given, as does an unsupported one at the value that changes nothing.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError, from_json

from detox_ray.config import LimitsConfig
from detox_ray.serve.http.errors import Refused

MAX_SEED = 2**62  # sample k has seed + k, which must stay within 64 bits
Token = Annotated[int, Field(ge=0, lt=2**31)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """A request's JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    # Fields that are not supported, with the values at which they change nothing: clients such as LangChain send them
    # whether they were set or not. At another value they are refused by name, as any unknown field is.
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({})

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_changes_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None and not cls._is_neutral(name, value)}

    @classmethod
    def _is_neutral(cls, name: str, value: Any) -> bool:
        # 0 == False, but not in JSON
        return any(type(value) is type(one) and value == one for one in cls.neutral.get(name, ()))


def _prompt(value: Any, handler: Callable[[Any], Any]) -> Any:
    """One rule instead of what is wrong by each of the forms that a prompt may have."""
    try:
        return handler(value)
    except ValidationError:
        rule = "must be text, a list of texts, a list of tokens, or a list of such lists; no list may be empty"
        raise PydanticCustomError("prompt", rule) from None


class StreamOptions(Body):
    neutral = MappingProxyType({"include_obfuscation": (False,)})

    include_usage: bool = False


class Generation(Body):
    """What OpenAI's two requests share; what a client leaves out is vLLM's default, which is OpenAI's."""

    neutral = MappingProxyType({"logit_bias": ({},), "service_tier": ("auto", "default")})

    model: str
    n: int = Field(1, ge=1)
    seed: int = Field(0, ge=0, le=MAX_SEED)
    temperature: float = Field(1, ge=0, le=2)
    top_p: float = Field(1, gt=0, le=1)
    max_tokens: int = Field(16, ge=1)
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    # What clients send to OpenAI for its own purposes; it changes no answer.
    user: str = Field("", exclude=True)
    safety_identifier: str = Field("", exclude=True)
    prompt_cache_key: str = Field("", exclude=True)
    metadata: dict[str, Any] = Field(default_factory=dict, exclude=True)
    store: bool = Field(False, exclude=True)

    def within(self, limits: LimitsConfig) -> None:
        """Raises Refused (400) that names the field."""
        at_most("n", self.n, limits.n)
        at_most("max_tokens", self.max_tokens, limits.max_tokens)

    def forward(self) -> dict[str, Any]:
        """What the engine is asked for: what was given, and nothing else."""
        body = self.model_dump(exclude_unset=True)
        if not self.stream:
            body.pop("stream_options", None)
        return body


class Completion(Generation):
    """A request to /v1/completions."""

    neutral = MappingProxyType({**Generation.neutral, "best_of": (1,), "suffix": ("",)})

    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)],
        WrapValidator(_prompt),
    ]
    logprobs: int = Field(0, ge=0, le=20)
    echo: Literal[False] = False

    def within(self, limits: LimitsConfig) -> None:
        super().within(limits)
        if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int):
            at_most("prompt", len(self.prompt), limits.prompts, "prompts")


class TextPart(Body):
    type: Literal["text"]
    text: str


class Message(Body):
    # An assistant's message, as OpenAI's own client dumps it.
    neutral = MappingProxyType({"tool_calls": ([],), "annotations": ([],)})

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str = ""


class Chat(Generation):
    """A request to /v1/chat/completions."""

    neutral = MappingProxyType(
        {
            **Generation.neutral,
            "tools": ([],),
            "tool_choice": ("none", "auto"),
            "parallel_tool_calls": (False, True),
            "functions": ([],),
            "function_call": ("none", "auto"),
            "response_format": ({"type": "text"},),
            "modalities": (["text"],),
            "verbosity": ("medium",),
        }
    )

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int = Field(16, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)

    def within(self, limits: LimitsConfig) -> None:
        super().within(limits)
        at_most("max_completion_tokens", self.max_completion_tokens, limits.max_tokens)


def at_most(field: str, value: int, limit: int, unit: str = "") -> None:
    """Raises Refused (400) that names the field."""
    if value > limit:
        raise Refused(400, f"{field}: must be at most {limit}{' ' if unit else ''}{unit} (got {value})", field)


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
