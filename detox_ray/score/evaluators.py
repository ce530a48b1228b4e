"""Evaluators of completions, of two kinds by the model's family: causal, and T5 (t5, mt5, umt5).

A causal model reads the prompt's tokens and then the completion's, joined as ids, so that the prompt is a prefix of the
whole and its likelihood can be subtracted exactly. A prompt begins with what the tokenizer itself puts before a text.
Its first token is counted and given, not predicted.

A T5 is used as in docs/papers.md, "Fluency of Li et al.": the input and the labels are the same ids, with </s>, so that
it copies rather than continues. The whole is the prompt's and the completion's text without anything between, tokenised
as one text. Its sums are the mean loss that transformers gives, times the tokens.

Shapes: B texts, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel, summed_nll
from detox_ray.models.codec import CONTEXT
from detox_ray.models.device import device
from detox_ray.models.families import family_of
from detox_ray.models.padding import padded_rows
from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.storage import Store


class Evaluator(Protocol):
    """A loaded model that says how probable completions are."""

    kind: str  # "causal" or "t5"
    device: str  # its name
    vocabulary: int  # V, the logits of a token
    context: int  # tokens that can be evaluated at once

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt, at least one."""
        ...

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt (given as text and as ids) with its completion. They may be too many."""
        ...

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return each row's summed negative log-likelihood, in nats."""
        ...


def load(model: LoadableModel, store: Store) -> Evaluator:
    """Load the evaluator on this node."""
    from transformers import AutoConfig

    path = model.local_path(store)
    config = AutoConfig.from_pretrained(path, **model.loading())
    return (T5Evaluator if family_of(config.model_type).likelihood == "t5" else CausalEvaluator)(model, path)


class CausalEvaluator:
    """The continuation loss. A prompt is cut on the left to half the context, because its end is continued."""

    kind = "causal"

    def __init__(self, model: LoadableModel, path: str):
        self._model = CausalModel(path, model.loading(), model.dtype)
        self._codec, self.device = self._model.codec, self._model.device.name
        self.vocabulary = self._codec.vocabulary
        self.context = self._codec.context

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        return self._codec.encode(texts, self.context // 2).ids

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        if not completions:
            return []
        added = self._codec.plain(completions)
        return [[*before, *after] for before, after in zip(ids, added, strict=True)]

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        return self._model.nll(rows)


class T5Evaluator:
    """The auto-encoding loss of Li et al. 2024. With relative positions no text is too long, but memory is limited."""

    kind = "t5"

    def __init__(self, model: LoadableModel, path: str):
        import_without_sklearn()
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(path, **model.loading())
        self._on, self.device = device()
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

        ids_BT, mask_BT = padded_rows(rows, self._tokenizer.pad_token_id, self._on)
        with torch.inference_mode():
            shifted_BT = self._model.prepare_decoder_input_ids_from_labels(labels=ids_BT)
            logits_BTV = self._model(input_ids=ids_BT, attention_mask=mask_BT, decoder_input_ids=shifted_BT).logits
            return summed_nll(logits_BTV, ids_BT, mask_BT)
