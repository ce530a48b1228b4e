"""An engine: vLLM's OpenAI-compatible serving of one model, and samples for comparisons.

The wire format (choices, log-probabilities, usage, stop strings, chat templates, streams) is vLLM's: the engine passes
vLLM requests that the gateway has checked, and returns its answers. A LoRA-tuned model is another name served by its
parent's engine.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from detox_ray.config import LimitsConfig
from detox_ray.models import vllm_internals, vllm_options
from detox_ray.models.codec import Codec
from detox_ray.models.device import device
from detox_ray.serve.http.errors import RequestError, error_object
from detox_ray.serve.spec import EngineSpec
from detox_ray.serve.workers.prompt_encoder import PromptEncoder
from detox_ray.serve.workers.vllm_errors import ENGINE_DEAD, request_error
from detox_ray.storage import Store

Kind = Literal["completions", "chat"]
EXIT_DELAY_S = 1.0  # time to send the last answers of a replica


class Answer(NamedTuple):
    """A whole answer, or an error."""

    status: int  # HTTP's status code
    body: str  # JSON; an error is {"error": {"message", "type", "param", "code"}}
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Usage(NamedTuple):
    """The number of tokens that a stream used. It is the stream's last item."""

    prompt_tokens: int
    completion_tokens: int


class Sampling(NamedTuple):
    """The settings of a sample. Equal settings give equal samples, regardless of other requests to the engine."""

    seed: int
    temperature: float
    top_p: float
    max_tokens: int


class Delta(NamedTuple):
    """Text that was added to a sample."""

    text: str


class FinishedSample(NamedTuple):
    """A finished sample. ``text`` is the text of offline generation; its ends may differ from those of the deltas."""

    text: str
    tokens: int
    finish_reason: str  # "stop" or "length"


class ModelCard(NamedTuple):
    """A served model, as /v1/models shows it."""

    name: str
    context: int  # tokens that prompt and answer may have together
    chat: bool  # whether its tokenizer has a chat template
    engine: str  # the model whose engine serves it


class Engine:
    """A vLLM AsyncLLM and the models that it serves. Call `open` before the first request."""

    def __init__(self, spec: EngineSpec, store: Store, limits: LimitsConfig):
        model = spec.model
        path = model.local_path(store)
        self._spec, self._limits = spec, limits
        self._codec = Codec(path, model.loading())
        self._prompt_encoder = PromptEncoder(self._codec, limits)
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
            # On a CPU there is one more slot than adapters, which stays zero: in a batch that contains a sample with an
            # adapter, vLLM's CPU kernels apply the last slot to the base's samples (index -1, meaning no adapter).
            slots = len(spec.adapters) + (device().kind == "cpu")
            arguments |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": spec.rank}

        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        vllm_internals.end_engines_with_parent()
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments, disable_log_stats=True))
        self._path = path
        self._adapters = {name: str(store.localize(folder)) for name, folder in spec.adapters.items()}
        self._serving: vllm_internals.OpenAIServing
        self._has_chat_template = bool(self._codec.tokenizer.chat_template)

    async def open(self) -> None:
        """Load the adapters."""
        self._serving = await vllm_internals.openai_serving(
            self._llm, self._spec.model.name, self._path, self._adapters
        )

    def cards(self) -> list[ModelCard]:
        """Return a card for each model that this engine serves."""
        context, chat, engine = self._codec.context, self._has_chat_template, self._spec.model.name
        return [ModelCard(name, context, chat, engine) for name in self._spec.names]

    async def answer(self, kind: Kind, body: dict[str, Any], request_id: str) -> Answer:
        """Answer an OpenAI request that is not streamed."""
        try:
            return _answer(await self._create(kind, body, request_id, vllm_internals.blank_request()))
        except Exception as error:
            return self._error_answer(error, body)

    async def stream(
        self, kind: Kind, body: dict[str, Any], request_id: str
    ) -> AsyncGenerator[str | Usage | Answer, None]:
        """Yield vLLM's server-sent events unchanged, and Usage last.

        If the request is rejected, the only item is an Answer.
        """
        http_request = vllm_internals.blank_request()
        try:
            response = await self._create(kind, body, request_id, http_request)
        except Exception as error:
            yield self._error_answer(error, body)
            return
        if not isinstance(response, AsyncGenerator):
            yield _answer(response)
            return
        async with aclosing(response):  # ends the generation if the client disconnects
            async for event in response:
                yield event
        usage = vllm_internals.usage_left_in(http_request)
        if usage is not None:  # None if the stream failed
            yield Usage(usage.prompt_tokens, usage.completion_tokens or 0)

    async def sample(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[Delta | FinishedSample | Answer, None]:
        """Draw one sample as offline generation does. Yield deltas, and the finished sample last.

        If the request is rejected, the only item is an Answer. If the engine fails, the last item is an Answer.
        """
        from vllm import SamplingParams, TokensPrompt
        from vllm.exceptions import GenerationError
        from vllm.sampling_params import RequestOutputKind

        try:
            ids = await self._prompt_encoder.encode("prompt", prompt)
            self._prompt_encoder.check_room(len(ids), sampling.max_tokens, "prompt")
            parameters = SamplingParams(**sampling._asdict(), output_kind=RequestOutputKind.DELTA)
            adapter = self._serving.models.lora_requests.get(model)
            outputs = self._llm.generate(
                TokensPrompt(prompt_token_ids=ids), parameters, f"sample-{uuid4().hex}", lora_request=adapter
            )
            tokens: list[int] = []
            async with aclosing(outputs):
                async for output in outputs:
                    (delta,) = output.outputs
                    tokens += delta.token_ids
                    if delta.text:
                        yield Delta(delta.text)
                    if delta.finish_reason in ("stop", "length"):
                        yield FinishedSample(self._codec.completion(ids, tokens), len(tokens), delta.finish_reason)
                    elif delta.finish_reason is not None:
                        raise GenerationError(f"a sample ended with {delta.finish_reason}")
        except Exception as error:
            yield self._error_answer(error, Sampling._fields)

    async def finished_sample(self, model: str, prompt: str, sampling: Sampling) -> FinishedSample | Answer:
        """Draw one sample and return only the last item of `sample`."""
        last: FinishedSample | Answer | None = None
        async with aclosing(self.sample(model, prompt, sampling)) as items:
            async for item in items:
                last = None if isinstance(item, Delta) else item
        assert last is not None, "a sample ends with a finished sample or an answer"
        return last

    def unfinished_requests(self) -> int:
        """Return the number of requests that the engine is processing or has queued."""
        return vllm_internals.unfinished_requests(self._llm)

    async def check_health(self) -> None:
        """Raise an exception if the engine is dead."""
        if self._llm.errored:
            self._exit_soon()
        await self._llm.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_llm"):
            self._llm.shutdown()

    def _error_answer(self, error: Exception, fields: Collection[str]) -> Answer:
        """Return the answer to a request with these fields that failed with ``error``."""
        answer = request_error(error, fields)
        if answer is ENGINE_DEAD:
            self._exit_soon()
        return _answer_of_error(answer)

    def _exit_soon(self) -> None:
        """End this process, whose engine is dead.

        Ray Serve then sends it no more requests and starts another replica at once. Otherwise it would do so only after
        three failed health checks, and until then the replica would answer every request with an error.
        """
        asyncio.get_running_loop().call_later(EXIT_DELAY_S, os._exit, 1)

    async def _create(self, kind: Kind, body: dict[str, Any], request_id: str, http_request: Any) -> Any:
        """Return vLLM's response, generator of events, or ErrorResponse. `request_error` handles its exceptions."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest

        if kind == "completions":
            prompts = await self._prompt_encoder.encode_completion(body)
            return await self._serving.completions.create_completion(
                CompletionRequest(**{**body, "prompt": prompts}, request_id=request_id), http_request
            )
        if not self._has_chat_template:
            rule = f"{body['model']} has no chat template: use /v1/completions"
            raise RequestError(400, rule, "model", "no_chat_template")
        request = ChatCompletionRequest(**body, request_id=request_id)
        rendered = await self._serving.chat.render_chat_request(request)
        if not isinstance(rendered, tuple):
            return rendered
        prompt: Any = rendered[1][0]
        tokens = len(prompt["prompt_token_ids"])
        max_tokens = request.max_completion_tokens or request.max_tokens
        self._prompt_encoder.check_room(tokens, max_tokens or 1, "messages")
        if max_tokens is None:
            request.max_tokens = min(self._limits.max_tokens, self._codec.context - tokens)
        return await self._serving.chat.create_chat_completion(request, http_request)


def _answer(response: Any) -> Answer:
    """Convert vLLM's response, or its ErrorResponse."""
    if (error := getattr(response, "error", None)) is not None:
        return _answer_of_error(RequestError(error.code, error.message, error.param))
    usage = response.usage
    return Answer(200, response.model_dump_json(), usage.prompt_tokens, usage.completion_tokens or 0)


def _answer_of_error(error: RequestError) -> Answer:
    return Answer(error.status_code, json.dumps(error_object(error, ""), ensure_ascii=False))
