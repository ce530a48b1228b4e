"""How text becomes a causal model's tokens and back: the same for every engine and for likelihoods.

A beginning-of-text token is put first where the tokenizer does so by itself; an end token is never appended (some
tokenizers do, and a model would then continue after the end). What is too long is cut from the left: the end of a
prompt is what gets continued. What is empty becomes the token that stands before a text: the beginning-of-text token,
or else the end-of-text token, which in a packed corpus stands before every document but the first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from detox_ray.config import InputError

CONTEXT = 4096  # tokens at most: prompts are sentences, and vLLM reserves KV cache for one whole context
TAIL = 8  # prompt tokens that a completion is decoded with: a word piece's leading space depends on what precedes it
UNFINISHED = "\ufffd"  # what decodes from a character whose last bytes are missing


class Encoded(NamedTuple):
    """Token ids of each prompt, and how many prompts were cut."""

    ids: list[list[int]]
    cut: int


class Codec:
    """A tokenizer with the rules above. Needs no weights."""

    def __init__(self, path: str, loading: dict[str, Any]):
        from transformers import AutoConfig, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path, **loading)
        self.config = AutoConfig.from_pretrained(path, **loading)
        added = self.tokenizer("")["input_ids"]
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self._first = [bos] if bos is not None and added[:1] == [bos] else []
        self._before_text = bos if bos is not None else eos
        self.pad = next(i for i in (self.tokenizer.pad_token_id, eos, 0) if i is not None)

    @property
    def context(self) -> int:
        """Tokens that the model takes in one go, `CONTEXT` at most."""
        config = self.config.get_text_config()
        lengths = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "seq_length"))
        return min(
            CONTEXT, next((length for length in lengths if length), 2048)
        )  # BLOOM states none: it learnt at 2048

    @property
    def saved_dtype(self) -> str:
        """How the weights are saved ("auto" means something else to vLLM: it halves float32)."""
        return str(self.config.dtype or "float32").removeprefix("torch.")

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text, uncut; of an empty one none but what stands first."""
        plain = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return [self._first + ids for ids in plain]

    def encode(self, prompts: Sequence[str], limit: int) -> Encoded:
        """Ids of each prompt, at least one and at most ``limit``.

        Raises InputError for an empty prompt where the tokenizer has no token to stand for it.
        """
        found: list[list[int]] = []
        cut = 0
        for ids in self.ids(prompts):
            if len(ids) > limit:
                cut += 1
                ids = self._first + ids[len(ids) - limit + len(self._first) :]
            if not ids:
                if self._before_text is None:
                    raise InputError("a prompt is empty, and the tokenizer has no bos or eos token to stand for it")
                ids = [self._before_text]
            found.append(ids)
        return Encoded(found, cut)

    def completion(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        """The text that ``ids`` add after ``prompt``, without special tokens and an unfinished last character."""
        tail = list(prompt[-TAIL:])
        before = self._decode(tail)
        whole = self._decode(tail + list(ids))
        text = whole.removeprefix(before) if whole.startswith(before) else self._decode(list(ids))
        return text.rstrip(UNFINISHED)

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
