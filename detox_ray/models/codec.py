"""Convert text to a causal model's tokens and back, in the same way for training, engines, serving and likelihoods.

Every text begins with the prefix that `tokenizer(text)` itself adds: a beginning-of-text token (Llama), the end-of-text
token (XGLM), two tokens (GLM's "[gMASK] <sop>"), or nothing. Tokens that the tokenizer appends are left out, because a
model would continue after the end. A text that is too long is cut on the left, after its prefix, because a model
continues the end of a prompt. An empty text becomes the prefix. If there is no prefix, it becomes the beginning-of-text
or end-of-text token, which precedes every document but the first in a packed corpus.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from detox_ray.config import InputError
from detox_ray.models.families import stated_positions
from detox_ray.models.transformers_internals import import_without_sklearn

CONTEXT = 4096  # most tokens of a context: prompts are sentences, and vLLM reserves KV cache for one whole context
UNSTATED = 2048  # tokens that a model takes if its config states no limit; BLOOM was trained on this many
TAIL = 8  # prompt tokens to decode with a completion: a word piece's leading space depends on what precedes it
UNFINISHED = "\ufffd"  # what an incomplete character decodes to
# Texts that show what a tokenizer adds. They are in several scripts, because a normalizer may remove some of them.
PROBES = ("a", "0", "Anna is", "я", "あ", "한", "ا")
_SANE = 10**6  # tokens; transformers writes 10^30 for "no limit"


class EncodedPrompts(NamedTuple):
    """The token ids of each prompt, and the prompts that were cut."""

    ids: list[list[int]]
    cut: list[int]  # indices of the prompts that lost their beginning


def context_of(config: Any, tokenizer_limit: float | None) -> int:
    """Return how many tokens of prompt and completion together a model takes, at most `CONTEXT`.

    Args:
        config: An AutoConfig object, or the content of a config.json.
        tokenizer_limit: The tokenizer's ``model_max_length``, which is used if the config states no limit.
    """
    length = stated_positions(config)
    if length is None and tokenizer_limit is not None and 0 < tokenizer_limit <= _SANE:
        length = int(tokenizer_limit)
    return min(CONTEXT, length or UNSTATED)


def prompt_limit(context: int, prefix: int, max_tokens: int) -> int:
    """Return how many tokens of a prompt, including its prefix, fit beside ``max_tokens`` of a completion.

    Raises InputError if no token of the prompt's text fits beside the prefix.
    """
    left = context - max_tokens
    if left <= prefix:
        most = context - prefix - 1
        what = f"{context} tokens fit, of prompt and completion together"
        raise InputError(f"a completion may have at most {most} tokens: {what} (max_tokens is {max_tokens})")
    return left


class Encoder:
    """A tokenizer that follows the rules of this module."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self.prefix = prefix_of(tokenizer)
        stand_in = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), None)
        self.empty = self.prefix or ([] if stand_in is None else [stand_in])  # stands for an empty text

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without cutting any. An empty text has only the prefix."""
        return [self.prefix + ids for ids in self.plain(texts)]

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return ids

    def chat(self, messages: Sequence[str]) -> list[list[int]]:
        """Return the ids of each message as the user's turn of a chat, up to where the model's turn begins.

        The chat template writes the beginning-of-text token itself, so the prefix is not put before it again.
        """
        rendered = [
            str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
                )
            )
            for message in messages
        ]
        return self.plain(rendered)

    def encode(self, prompts: Sequence[str], limit: int, chat: bool = False) -> EncodedPrompts:
        """Return the ids of each prompt: at least one, and at most ``limit``.

        Args:
            prompts: The texts.
            limit: Most tokens of a prompt.
            chat: Whether each text is a user's message, which the tokenizer's chat template wraps.

        Raises:
            InputError: If a prompt is empty and the tokenizer has no token that can stand for it.
        """
        encoded: list[list[int]] = []
        cut: list[int] = []
        for place, ids in enumerate(self.chat(prompts) if chat else self.ids(prompts)):
            if len(ids) > limit:
                cut.append(place)
                ids = self.prefix + ids[len(ids) - limit + len(self.prefix) :]
            if not ids:
                if not self.empty:
                    raise InputError("a prompt is empty, and the tokenizer has no bos or eos token to stand for it")
                ids = list(self.empty)
            encoded.append(ids)
        return EncodedPrompts(encoded, cut)


def prefix_of(tokenizer: Any) -> list[int]:
    """Return the tokens that ``tokenizer(text)`` itself puts before every text.

    They are found by trial, because the tokenizer's attributes are no guide: it may append its bos_token or never use
    it. Tokens that belong to the text, such as a SentencePiece space, are not part of the prefix.
    """
    possible: list[list[int]] | None = None  # prefixes that explain every probe
    for probe in PROBES:
        whole: list[int] = tokenizer(probe)["input_ids"]
        bare: list[int] = tokenizer(probe, add_special_tokens=False)["input_ids"]
        starts = range(len(whole) - len(bare) + 1)
        here = [whole[:start] for start in starts if bare and whole[start : start + len(bare)] == bare]
        if here:
            possible = here if possible is None else [prefix for prefix in possible if prefix in here]
    return possible[0] if possible else []


class Codec(Encoder):
    """An encoder and decoder for a model's folder or hub id, with the model's config. Needs no weights."""

    def __init__(self, path: str, loading: dict[str, Any]):
        import_without_sklearn()
        from transformers import AutoConfig, AutoTokenizer

        super().__init__(AutoTokenizer.from_pretrained(path, **loading))
        self.config = AutoConfig.from_pretrained(path, **loading)
        # A tokenizer may have a padding token for which the model has no vector. Any other token serves as well,
        # because the attention mask hides padding.
        pads = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        self.pad = next(token for token in pads if token is not None and token < self.vocabulary)

    @property
    def context(self) -> int:
        """Return how many tokens the model takes at once, at most `CONTEXT`."""
        return context_of(self.config, self.tokenizer.model_max_length)

    @property
    def vocabulary(self) -> int:
        """Return the size of the model's vocabulary, which is the number of logits per token."""
        return int(self.config.get_text_config().vocab_size)

    @property
    def saved_dtype(self) -> str:
        """Return the dtype of the saved weights. (vLLM's own "auto" means half precision for float32 weights.)"""
        return str(self.config.dtype or "float32").removeprefix("torch.")

    def completion(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        """Return the text that ``ids`` add to ``prompt``, without special tokens or an incomplete last character."""
        tail = list(prompt[-TAIL:])
        before = self._decode(tail)
        whole = self._decode(tail + list(ids))
        text = whole.removeprefix(before) if whole.startswith(before) else self._decode(list(ids))
        return text.rstrip(UNFINISHED)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
