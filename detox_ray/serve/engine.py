"""One vLLM engine behind a Ray Serve deployment: vLLM's own OpenAI-compatible serving, and samples for comparison.

The wire format (choices, log-probabilities, usage, stop strings, chat templates, streams) is vLLM's: the deployment
gives it a request that the gateway has checked, and passes on what it says. A LoRA-tuned model is a second name of its
parent's engine.
"""

import json
from collections.abc import AsyncGenerator
from typing import Any, Literal, NamedTuple

from detox_ray import vllm
from detox_ray.config import LimitsConfig
from detox_ray.serve.served import EngineSpec
from detox_ray.store import Store
from detox_ray.tokens import Codec

Kind = Literal["completions", "chat"]


class Answer(NamedTuple):
    """To a request that is not streamed."""

    status: int  # HTTP's
    body: str  # JSON; of an error {"error": {"message", "type", "param", "code"}}


class Sampling(NamedTuple):
    """How a sample is drawn; the same means the same whatever else the engine is doing."""

    seed: int
    temperature: float
    top_p: float
    max_tokens: int


class Delta(NamedTuple):
    """What a sample grew by."""

    text: str


class Sampled(NamedTuple):
    """A finished sample. ``text`` is as offline generation gives it, and may differ from the deltas' at its ends."""

    text: str
    tokens: int
    finish_reason: str  # "stop" or "length"


class Card(NamedTuple):
    """What /v1/models says of a model."""

    name: str
    context: int  # tokens of prompt and answer at most
    chat: bool  # whether its tokenizer has a chat template
    engine: str  # the model whose engine serves it


class Engine:
    """Holds one vLLM AsyncLLM."""

    async def __init__(self, spec: EngineSpec, store: Store, limits: LimitsConfig):  # type: ignore[misc]
        # Ray Serve awaits it: adapters are loaded before the replica counts as started.
        model = spec.model
        path = model.local_path(store)
        self._spec, self._limits = spec, limits
        self._codec = Codec(path, model.loading())
        arguments = vllm.arguments(
            path,
            model.loading(),
            self._codec.saved_dtype if model.dtype == "auto" else model.dtype,
            self._codec.context,
            tensor_parallel=spec.config.tensor_parallel,
            gpu_memory_utilization=spec.config.gpu_memory_utilization,
            cpu_kv_cache_gb=spec.config.cpu_kv_cache_gb,
        )
        if spec.adapters:
            arguments |= {"enable_lora": True, "max_loras": len(spec.adapters), "max_lora_rank": spec.rank}

        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments, disable_log_stats=True))
        self._models = OpenAIServingModels(
            self._llm,
            [BaseModelPath(name=model.name, model_path=path)],
            lora_modules=[
                LoRAModulePath(name=name, path=str(store.localize(folder))) for name, folder in spec.adapters.items()
            ],
        )
        await self._models.init_static_loras()
        common: dict[str, Any] = {"chat_template": None, "chat_template_content_format": "auto"}
        renderer = OnlineRenderer(
            model_config=self._llm.model_config, renderer=self._llm.renderer, request_logger=None, **common
        )
        self._completion = OpenAIServingCompletion(
            self._llm, self._models, online_renderer=renderer, request_logger=None
        )
        self._chat = OpenAIServingChat(
            self._llm, self._models, "assistant", online_renderer=renderer, request_logger=None, **common
        )

    async def cards(self) -> list[Card]:
        """Of the models that it answers as."""
        chat = bool(self._codec.tokenizer.chat_template)
        return [Card(name, self._codec.context, chat, self._spec.model.name) for name in self._spec.names]

    async def answer(self, kind: Kind, body: dict[str, Any], request_id: str) -> Answer:
        """The whole answer to an OpenAI request that is not to be streamed."""
        made = await self._make(kind, body, request_id)
        return made if isinstance(made, Answer) else Answer(200, made.model_dump_json())

    async def stream(self, kind: Kind, body: dict[str, Any], request_id: str) -> AsyncGenerator[str | Answer, None]:
        """Server-sent events as vLLM writes them; or one Answer, where the request is refused."""
        made = await self._make(kind, body, request_id)
        if isinstance(made, Answer):
            yield made
            return
        async for event in made:
            yield event

    async def sample(self, model: str, prompt: str, sampling: Sampling) -> AsyncGenerator[Delta | Sampled, None]:
        """One sample, drawn as offline generation draws it: deltas, and the finished sample last."""
        raise NotImplementedError

    async def check_health(self) -> None:
        """Called by Ray Serve: a replica whose engine is dead is replaced."""
        await self._llm.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_llm"):
            self._llm.shutdown()

    async def _make(self, kind: Kind, body: dict[str, Any], request_id: str) -> Any:
        """vLLM's response, its generator of events, or our Answer to what it refuses."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.exceptions import VLLMClientError

        made: Any
        try:
            if kind == "chat":
                made = await self._chat.create_chat_completion(ChatCompletionRequest(**body, request_id=request_id))
            else:
                made = await self._completion.create_completion(CompletionRequest(**body, request_id=request_id))
        except (VLLMClientError, ValueError) as error:
            return Answer(400, json.dumps({"error": {"message": str(error), "type": "invalid_request_error"}}))
        if isinstance(made, ErrorResponse):
            return Answer(made.error.code, json.dumps({"error": made.error.model_dump()}))
        return made
