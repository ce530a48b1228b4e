"""Two kinds of evaluator of completions, by the model's config: causal, and T5 (t5, mt5, umt5).

A causal model reads the prompt's tokens and then the completion's, joined as ids, so that the prompt is a prefix of the
whole and its likelihood can be taken away exactly. A prompt begins with what the tokenizer itself puts before a text;
its first token is counted and given, not predicted.

A T5 is used as in docs/papers.md, "Fluency of Li et al.": the input and the labels are the same ids, with </s>, so that
it copies rather than continues; the whole is the prompt's and the completion's text without anything between, tokenised
anew. Its sums are the mean loss that transformers gives, times the tokens.

Shapes: B texts, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from detox_ray.models import LoadableModel, attention
from detox_ray.models.codec import CONTEXT, Codec
from detox_ray.storage import Store

T5 = ("t5", "mt5", "umt5")


class Evaluator(Protocol):
    kind: str  # "causal" or "t5"
    device: str
    vocabulary: int  # V: a batch's logits have so many numbers for each token
    context: int  # tokens that can be evaluated at once

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each, at least one."""
        ...

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        """Ids of each prompt, given as text and as ids, with its completion; may be too long."""
        ...

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Sums of negative log-likelihoods, nats, of a batch."""
        ...


def load(model: LoadableModel, store: Store) -> Evaluator:
    """The loaded evaluator, on the node that asks."""
    from transformers import AutoConfig

    path = model.local_path(store)
    config = AutoConfig.from_pretrained(path, **model.loading())
    return (T5Evaluator if config.model_type in T5 else CausalEvaluator)(model, path)


class CausalEvaluator:
    """The continuation loss. A prompt is cut from the left to half the context, as its end is what gets continued."""

    kind = "causal"

    def __init__(self, model: LoadableModel, path: str):
        from transformers import AutoModelForCausalLM

        self._codec = Codec(path, model.loading())
        self._on, self.device = _device()
        loaded = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=model.dtype,
            use_safetensors=True,
            attn_implementation=attention(self._codec.config),
            **model.loading(),
        )
        self._model: Any = loaded.eval().to(self._on)
        self.vocabulary: int = self._codec.config.get_text_config().vocab_size
        self.context = self._codec.context

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return self._codec.encode(texts, self.context // 2).ids

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        if not completions:
            return []
        added = self._codec.plain(completions)
        return [[*before, *after] for before, after in zip(ids, added, strict=True)]

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        import torch

        ids_BT, mask_BT = _padded(rows, self._codec.pad, self._on)
        with torch.inference_mode():
            logits_BTV = self._model(input_ids=ids_BT, attention_mask=mask_BT).logits[:, :-1]
            return _sums(logits_BTV, ids_BT[:, 1:], mask_BT[:, 1:])


class T5Evaluator:
    """The auto-encoding loss of Li et al. 2024. Relative positions: no text is too long for it, but memory ends."""

    kind = "t5"

    def __init__(self, model: LoadableModel, path: str):
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(path, **model.loading())
        self._on, self.device = _device()
        loaded = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=model.dtype, use_safetensors=True, **model.loading())
        self._model: Any = loaded.eval().to(self._on)
        self.vocabulary: int = loaded.config.vocab_size
        self.context = CONTEXT

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer(list(texts))["input_ids"] if texts else []

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        return self.prompts([before + after for before, after in zip(prompts, completions, strict=True)])

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        import torch

        ids_BT, mask_BT = _padded(rows, self._tokenizer.pad_token_id, self._on)
        with torch.inference_mode():
            shifted_BT = self._model.prepare_decoder_input_ids_from_labels(labels=ids_BT)
            logits_BTV = self._model(input_ids=ids_BT, attention_mask=mask_BT, decoder_input_ids=shifted_BT).logits
            return _sums(logits_BTV, ids_BT, mask_BT)


def _device() -> tuple[str, str]:
    import torch

    return ("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", "cpu")


def _padded(rows: Sequence[Sequence[int]], pad: int, device: str) -> tuple[Any, Any]:
    """ids_BT, padded on the right, and mask_BT."""
    import torch

    longest = max(map(len, rows))
    ids_BT = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids_BT, mask_BT


def _sums(logits_BTV: Any, labels_BT: Any, mask_BT: Any) -> list[float]:
    import torch

    nll_BT = torch.nn.functional.cross_entropy(logits_BTV.float().transpose(1, 2), labels_BT, reduction="none")
    return (nll_BT.double() * mask_BT).sum(-1).tolist()
