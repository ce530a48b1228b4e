"""Encoding of prompts, by the rules of offline generation. A prompt that is too long is rejected, never cut."""

import asyncio
import sys
from typing import Any

from detox_ray.config import InputError, LimitsConfig
from detox_ray.models.codec import Codec
from detox_ray.serve.http.errors import RequestError

OPENAI_MAX_TOKENS = 16  # the default of /v1/completions
LONG = 20_000  # characters; tokenizing that many takes about 10 ms


class PromptEncoder:
    """Encodes and checks the prompts of one model. All methods raise RequestError, which names the field."""

    def __init__(self, codec: Codec, limits: LimitsConfig):
        self._codec, self._limits = codec, limits
        self._vocabulary = int(codec.config.get_text_config().vocab_size)

    async def encode_completion(self, body: dict[str, Any]) -> list[list[int]]:
        """Return the tokens of each prompt of a request to /v1/completions.

        vLLM's rules would append an end token to some prompts, and reject an empty prompt.
        """
        given = body["prompt"]
        single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        prompts = [given] if single else given
        if not prompts:
            raise RequestError(400, "prompt must not be an empty list", "prompt")
        max_tokens = body.get("max_tokens") or OPENAI_MAX_TOKENS
        encoded = []
        for index, prompt in enumerate(prompts):
            name = "prompt" if single else f"prompt[{index}]"
            ids = await self.encode(name, prompt) if isinstance(prompt, str) else self._checked_ids(name, prompt)
            self.check_room(len(ids), max_tokens, name)
            encoded.append(ids)
        return encoded

    async def encode(self, name: str, prompt: str) -> list[int]:
        """Return the tokens of a prompt. Long prompts are encoded in a thread, so that they do not delay others."""
        try:
            if len(prompt) > LONG:
                encoded = await asyncio.to_thread(self._codec.encode, [prompt], sys.maxsize)
            else:
                encoded = self._codec.encode([prompt], sys.maxsize)
        except InputError as error:
            raise RequestError(400, str(error), name) from None
        return encoded.ids[0]

    def check_room(self, prompt_tokens: int, max_tokens: int, name: str) -> None:
        """Check that a prompt is within its limit, and that prompt and answer fit into the model's context."""
        context, code = self._codec.context, "context_length_exceeded"
        allowed = min(self._limits.prompt_tokens, context - 1)
        if prompt_tokens > allowed:
            raise RequestError(400, f"{name} must have at most {allowed} tokens (it has {prompt_tokens})", name, code)
        if prompt_tokens + max_tokens > context:
            rule = f"{name} has {prompt_tokens} tokens and max_tokens is {max_tokens}: together at most {context} fit"
            raise RequestError(400, rule, "max_tokens", code)

    def _checked_ids(self, name: str, ids: list[int]) -> list[int]:
        if not ids or not 0 <= min(ids) <= max(ids) < self._vocabulary:
            rule = f"{name} must be text, or token ids below {self._vocabulary}, the size of the model's vocabulary"
            raise RequestError(400, rule, name)
        return ids
