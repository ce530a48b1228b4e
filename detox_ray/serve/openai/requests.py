"""The supported part of OpenAI's requests."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from detox_ray.config import LimitsConfig
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.strict_json import StrictBody

MAX_SEED = 2**62  # sample k has seed + k, which must fit into 64 bits
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


def _validate_prompt(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Report one rule, instead of one error for each form that a prompt may have."""
    try:
        return handler(value)
    except ValidationError:
        rule = "must be text, a list of texts, a list of tokens, or a list of such lists; no list may be empty"
        raise PydanticCustomError("prompt", rule) from None


class StreamOptions(StrictBody):
    neutral = MappingProxyType({"include_obfuscation": (False,)})

    include_usage: bool = False


class GenerationRequest(StrictBody):
    """The fields that OpenAI's two requests share. A missing field has vLLM's default, which equals OpenAI's."""

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
    # Clients send these fields for OpenAI's purposes. They change no answer.
    user: str = Field("", exclude=True)
    safety_identifier: str = Field("", exclude=True)
    prompt_cache_key: str = Field("", exclude=True)
    metadata: dict[str, Any] = Field(default_factory=dict, exclude=True)
    store: bool = Field(False, exclude=True)

    def check_limits(self, limits: LimitsConfig) -> None:
        """Raise RequestError (400), which names the field, if the request exceeds a limit."""
        check_at_most("n", self.n, limits.n)
        check_at_most("max_tokens", self.max_tokens, limits.max_tokens)

    def engine_request(self) -> dict[str, Any]:
        """Return the request for the engine: the fields that the client set, and no others."""
        body = self.model_dump(exclude_unset=True)
        if not self.stream:
            body.pop("stream_options", None)
        return body


class CompletionRequest(GenerationRequest):
    """A request to /v1/completions."""

    neutral = MappingProxyType({**GenerationRequest.neutral, "best_of": (1,), "suffix": ("",)})

    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)],
        WrapValidator(_validate_prompt),
    ]
    logprobs: int = Field(0, ge=0, le=20)
    echo: Literal[False] = False

    def check_limits(self, limits: LimitsConfig) -> None:
        super().check_limits(limits)
        if isinstance(self.prompt, list) and not isinstance(self.prompt[0], int):
            check_at_most("prompt", len(self.prompt), limits.prompts, "prompts")


class TextPart(StrictBody):
    type: Literal["text"]
    text: str


class Message(StrictBody):
    # OpenAI's own client dumps an assistant's message with these fields.
    neutral = MappingProxyType({"tool_calls": ([],), "annotations": ([],)})

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str = ""


class ChatRequest(GenerationRequest):
    """A request to /v1/chat/completions."""

    neutral = MappingProxyType(
        {
            **GenerationRequest.neutral,
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

    def check_limits(self, limits: LimitsConfig) -> None:
        super().check_limits(limits)
        check_at_most("max_completion_tokens", self.max_completion_tokens, limits.max_tokens)


def check_at_most(field: str, value: int, limit: int, unit: str = "") -> None:
    """Raise RequestError (400), which names the field, if ``value`` exceeds ``limit``."""
    if value > limit:
        maximum = f"{limit} {unit}" if unit else str(limit)
        raise RequestError(400, f"{field}: must be at most {maximum} (got {value})", field)
