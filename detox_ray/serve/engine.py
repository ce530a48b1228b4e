"""One vLLM engine behind a Ray Serve deployment: vLLM's own OpenAI-compatible serving, and samples for comparison.

The wire format (choices, log-probabilities, usage, stop strings, chat templates, streams) is vLLM's: the deployment
gives it a request that the gateway has checked, and passes on what it says. A LoRA-tuned model is a second name of its
parent's engine.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from detox_ray.cluster import keep_replica_on_loopback
from detox_ray.config import LimitsConfig
from detox_ray.models import vllm_internals, vllm_options
from detox_ray.models.codec import Codec
from detox_ray.models.device import device
from detox_ray.serve.errors import Refused, content
from detox_ray.serve.grouping import grouped
from detox_ray.serve.prompts import Prompts
from detox_ray.serve.refusals import DEAD, refusal
from detox_ray.serve.served import EngineSpec
from detox_ray.storage import Store

Kind = Literal["completions", "chat"]
LEAVE_S = 1.0  # in which the last answers of a replica go out


class Answer(NamedTuple):
    """To a request that is not streamed."""

    status: int  # HTTP's
    body: str  # JSON; of an error {"error": {"message", "type", "param", "code"}}
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Usage(NamedTuple):
    """What a stream took; its last item."""

    prompt_tokens: int
    completion_tokens: int


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
        keep_replica_on_loopback()
        model = spec.model
        path = model.local_path(store)
        self._spec, self._limits = spec, limits
        self._codec = Codec(path, model.loading())
        self._prompts = Prompts(self._codec, limits)
        arguments = vllm_options.arguments(
            path,
            model.loading(),
            self._codec.saved_dtype if model.dtype == "auto" else model.dtype,
            self._codec.context,
            tensor_parallel=spec.config.tensor_parallel,
            gpu_memory_utilization=spec.config.gpu_memory_utilization,
            cpu_kv_cache_gb=spec.config.cpu_kv_cache_gb,
        )
        if spec.adapters:
            # On a CPU one slot more than adapters, which stays zero: vLLM's kernels there give samples of the base the
            # last slot's adapter (index -1, which means none) when one with an adapter is in the same batch.
            slots = len(spec.adapters) + (device().kind == "cpu")
            arguments |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": spec.rank}

        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer
        from vllm.v1.engine.async_llm import AsyncLLM

        vllm_internals.end_engines_with_parent()
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
        # What a request leaves open is as in OpenAI's API and in offline generation, not as in the model's own
        # generation_config.json (top_k, repetition_penalty, …); that file's end tokens hold everywhere.
        self._completion.default_sampling_params = self._chat.default_sampling_params = {}
        self._chats = bool(self._codec.tokenizer.chat_template)

    async def cards(self) -> list[Card]:
        """Of the models that it answers as."""
        return [Card(name, self._codec.context, self._chats, self._spec.model.name) for name in self._spec.names]

    async def answer(self, kind: Kind, body: dict[str, Any], request_id: str) -> Answer:
        """The whole answer to an OpenAI request that is not to be streamed."""
        try:
            return _answer(await self._make(kind, body, request_id, _http()))
        except Exception as error:
            return self._told(error, body)

    async def stream(
        self, kind: Kind, body: dict[str, Any], request_id: str
    ) -> AsyncGenerator[list[str | Usage | Answer], None]:
        """Server-sent events as vLLM writes them, and Usage last; or one Answer, where the request is refused.

        In lists, as `grouped` makes them.
        """
        async with aclosing(grouped(self._stream(kind, body, request_id))) as groups:
            async for group in groups:
                yield group

    async def sample(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[list[Delta | Sampled | Answer], None]:
        """One sample, drawn as offline generation draws it: deltas, and the finished sample last.

        Or one Answer, where it is refused; or one after deltas, where the engine failed. In lists, as `grouped` makes
        them.
        """
        async with aclosing(grouped(self._sample(model, prompt, sampling))) as groups:
            async for group in groups:
                yield group

    async def finished(self, model: str, prompt: str, sampling: Sampling) -> Sampled | Answer:
        """What `sample` ends with, in one message."""
        last: Sampled | Answer | None = None
        async with aclosing(self._sample(model, prompt, sampling)) as grown:
            async for item in grown:
                last = None if isinstance(item, Delta) else item
        assert last is not None, "a sample ends with one of them"
        return last

    async def running(self) -> int:
        """Samples of this replica's engine that are being drawn, or wait until it has room for them."""
        return int(self._llm.output_processor.get_num_unfinished_requests())

    async def check_health(self) -> None:
        """Called by Ray Serve: a replica whose engine is dead is replaced."""
        if self._llm.errored:
            self._leave()
        await self._llm.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_llm"):
            self._llm.shutdown()

    async def _stream(
        self, kind: Kind, body: dict[str, Any], request_id: str
    ) -> AsyncGenerator[str | Usage | Answer, None]:
        http = _http()
        try:
            made = await self._make(kind, body, request_id, http)
        except Exception as error:
            yield self._told(error, body)
            return
        if not isinstance(made, AsyncGenerator):
            yield _answer(made)
            return
        async with aclosing(made):  # a client that leaves ends the generation, too
            async for event in made:
                yield event
        if (used := http.state.request_metadata.final_usage_info) is not None:  # None: it failed on the way
            yield Usage(used.prompt_tokens, used.completion_tokens or 0)

    async def _sample(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[Delta | Sampled | Answer, None]:
        from vllm import SamplingParams, TokensPrompt
        from vllm.exceptions import GenerationError
        from vllm.sampling_params import RequestOutputKind

        try:
            ids = await self._prompts.encode("prompt", prompt)
            self._prompts.check_room(len(ids), sampling.max_tokens, "prompt")
            how = SamplingParams(**sampling._asdict(), output_kind=RequestOutputKind.DELTA)
            adapter = self._models.lora_requests.get(model)
            drawn = self._llm.generate(
                TokensPrompt(prompt_token_ids=ids), how, f"sample-{uuid4().hex}", lora_request=adapter
            )
            tokens: list[int] = []
            async with aclosing(drawn):
                async for output in drawn:
                    (grown,) = output.outputs
                    tokens += grown.token_ids
                    if grown.text:
                        yield Delta(grown.text)
                    if grown.finish_reason in ("stop", "length"):
                        yield Sampled(self._codec.completion(ids, tokens), len(tokens), grown.finish_reason)
                    elif grown.finish_reason is not None:
                        raise GenerationError(f"a sample ended with {grown.finish_reason}")
        except Exception as error:
            yield self._told(error, Sampling._fields)

    def _told(self, error: Exception, given: Collection[str]) -> Answer:
        refused = refusal(error, given)
        if refused is DEAD:
            self._leave()
        return _refused(refused)

    def _leave(self) -> None:
        """End this process, whose engine is dead: Ray Serve sends it nothing more and starts another at once, rather
        than after three failed checks of health, until when it would answer everything with an error."""
        asyncio.get_running_loop().call_later(LEAVE_S, os._exit, 1)

    async def _make(self, kind: Kind, body: dict[str, Any], request_id: str, http: Any) -> Any:
        """vLLM's response, its generator of events, or its ErrorResponse. Raises what `refusal` understands."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest

        if kind == "completions":
            prompts = await self._prompts.of_completion(body)
            return await self._completion.create_completion(
                CompletionRequest(**{**body, "prompt": prompts}, request_id=request_id), http
            )
        if not self._chats:
            rule = f"{body['model']} has no chat template: use /v1/completions"
            raise Refused(400, rule, "model", "no_chat_template")
        request = ChatCompletionRequest(**body, request_id=request_id)
        rendered = await self._chat.render_chat_request(request)
        if not isinstance(rendered, tuple):
            return rendered
        prompt: Any = rendered[1][0]
        tokens = len(prompt["prompt_token_ids"])
        wanted = request.max_completion_tokens or request.max_tokens
        self._prompts.check_room(tokens, wanted or 1, "messages")
        if wanted is None:
            request.max_tokens = min(self._limits.max_tokens, self._codec.context - tokens)
        return await self._chat.create_chat_completion(request, http)


def _answer(made: Any) -> Answer:
    """Of vLLM's response, or of its ErrorResponse."""
    if (error := getattr(made, "error", None)) is not None:
        return _refused(Refused(error.code, error.message, error.param))
    return Answer(200, made.model_dump_json(), made.usage.prompt_tokens, made.usage.completion_tokens or 0)


def _http() -> Any:
    """A request as vLLM's server has one: it leaves the usage of a stream there."""
    from starlette.requests import Request

    return Request({"type": "http", "headers": []})


def _refused(refused: Refused) -> Answer:
    return Answer(refused.status_code, json.dumps(content(refused, ""), ensure_ascii=False))
