"""Evaluators of completions. The model's family decides between two kinds: causal, and T5 (t5, mt5, umt5).

A causal model reads the ids of the prompt followed by those of the completion, so that the prompt is a prefix of the
whole and its likelihood can be subtracted exactly. A prompt begins with the tokenizer's own prefix. Its first token is
given rather than predicted, but it counts as a token.

A T5 is used as in docs/papers.md, "Fluency of Li et al.": input and labels are the same ids, with </s>, so that the
model copies rather than continues. The whole is the prompt's text directly followed by the completion's, tokenized as
one text. A sum is the mean loss of transformers times the number of tokens.

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
    """A loaded model that gives likelihoods to completions."""

    kind: str  # "causal" or "t5"
    device: str  # name of its device
    vocabulary: int  # V, the number of logits per token
    context: int  # most tokens that can be evaluated at once

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt. Each has at least one."""
        ...

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        """Return the ids of each prompt followed by its completion. They may exceed the context.

        Args:
            prompts: Texts of the prompts.
            ids: Ids of the prompts.
            completions: Texts of the completions, one for each prompt.
        """
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
    """The continuation loss. A long prompt is cut on the left, to half the context, because its end is continued."""

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
    """The auto-encoding loss of Li et al. 2024. The context only bounds memory, because positions are relative."""

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
