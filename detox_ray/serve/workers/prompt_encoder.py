"""From prompts to tokens, by the rules of offline generation; nothing is cut: what is too long is refused."""

import asyncio
import sys
from typing import Any

from detox_ray.config import InputError, LimitsConfig
from detox_ray.models.codec import Codec
from detox_ray.serve.http.errors import Refused

OPENAI_MAX_TOKENS = 16  # of /v1/completions, where a request names none
LONG = 20_000  # characters; tokenizing so many takes about 10 ms


class Prompts:
    """Of one model. All methods raise Refused, which names the field."""

    def __init__(self, codec: Codec, limits: LimitsConfig):
        self._codec, self._limits = codec, limits
        self._vocabulary = int(codec.config.get_text_config().vocab_size)

    async def of_completion(self, body: dict[str, Any]) -> list[list[int]]:
        """Tokens of each prompt of a request to /v1/completions. (vLLM's own rules end some of them with an end
        token, and refuse an empty one.)"""
        given = body["prompt"]
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        prompts = [given] if one else given
        if not prompts:
            raise Refused(400, "prompt must not be an empty list", "prompt")
        wanted = body.get("max_tokens") or OPENAI_MAX_TOKENS
        found = []
        for index, prompt in enumerate(prompts):
            name = "prompt" if one else f"prompt[{index}]"
            found.append(await self.encode(name, prompt) if isinstance(prompt, str) else self._known(name, prompt))
            self.check_room(len(found[-1]), wanted, name)
        return found

    async def encode(self, name: str, prompt: str) -> list[int]:
        """Tokens of a prompt. Long ones are made in a thread, where they keep nobody waiting."""
        try:
            if len(prompt) > LONG:
                encoded = await asyncio.to_thread(self._codec.encode, [prompt], sys.maxsize)
            else:
                encoded = self._codec.encode([prompt], sys.maxsize)
        except InputError as error:
            raise Refused(400, str(error), name) from None
        return encoded.ids[0]

    def check_room(self, prompt_tokens: int, max_tokens: int, name: str) -> None:
        """Whether a prompt is short enough by itself, and with the answer."""
        context, code = self._codec.context, "context_length_exceeded"
        allowed = min(self._limits.prompt_tokens, context - 1)
        if prompt_tokens > allowed:
            raise Refused(400, f"{name} must have at most {allowed} tokens (it has {prompt_tokens})", name, code)
        if prompt_tokens + max_tokens > context:
            rule = f"{name} has {prompt_tokens} tokens and max_tokens is {max_tokens}: together at most {context} fit"
            raise Refused(400, rule, "max_tokens", code)

    def _known(self, name: str, ids: list[int]) -> list[int]:
        if not ids or not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise Refused(400, f"{name} must be text, or tokens of the model's {self._vocabulary}", name)
        return ids
