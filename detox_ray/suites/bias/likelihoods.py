"""Log-likelihoods of an item's options under a causal model, from which all bias metrics are computed.

Every option is a complete text and is tokenised as a whole, including the tokens that the tokenizer puts before a text.
Texts are never cut: an option longer than the model's context gets a status instead. Texts that occur in several items
are computed once, and texts that differ only in their last token, such as a question's answers, share one forward pass.
Rows are padded on the right regardless of the tokenizer's padding side, so that positions begin at 0.

Shapes: B rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from detox_ray.models.causal_model import CausalModel
from detox_ray.models.padding import padded_rows
from detox_ray.score.batches import by_length
from detox_ray.storage.tables import FAILED, OK
from detox_ray.suites.bias.tables import EMPTY, TOO_LONG

START = "<|endoftext|>"  # Neplenbroek et al. 2025 predict a sentence's first token after the first id of this text


class OptionLikelihood(NamedTuple):
    """A row of OPTION_LIKELIHOODS without the columns of item and option; the table explains the others."""

    tokens: int
    given: int
    nll: float | None
    shared_tokens: int
    shared_nll: float | None
    first_nll: float | None
    status: str


class OptionScorer:
    """A causal model that measures the likelihoods of options."""

    def __init__(self, model: CausalModel, budget: int):
        """Initialize the scorer.

        Args:
            model: A loaded model.
            budget: Maximum number of tokens of a batch, padding included.
        """
        self._model, self._codec, self._budget = model, model.codec, budget
        self._given = max(1, len(self._codec.prefix))
        self._first_logps: torch.Tensor | None = None  # (V,): log-probabilities of all tokens after START's first id

    def measure(self, items: Sequence[Sequence[str]]) -> list[list[OptionLikelihood]]:
        """Return the likelihood of each option of each item, in order."""
        texts = list(dict.fromkeys(text for options in items for text in options))
        ids = dict(zip(texts, self._codec.ids(texts), strict=True))
        tokens_nll = self._tokens_nll([row for row in ids.values() if self._given < len(row) <= self._codec.context])
        return [self._item([ids[text] for text in options], tokens_nll) for options in items]

    def _item(
        self, rows: Sequence[list[int]], tokens_nll: dict[tuple[int, ...], list[float]]
    ) -> list[OptionLikelihood]:
        shared = _common(rows)
        return [self._option(row, shared, tokens_nll.get(tuple(row))) for row in rows]

    def _option(self, row: list[int], shared: int, tokens_nll: list[float] | None) -> OptionLikelihood:
        nothing = OptionLikelihood(len(row), self._given, None, shared, None, None, FAILED)
        if tokens_nll is None:
            return nothing._replace(status=EMPTY if len(row) <= self._given else TOO_LONG)
        nll = math.fsum(tokens_nll[self._given - 1 :])
        if not math.isfinite(nll):
            return nothing
        shared_nll = math.fsum(tokens_nll[self._given - 1 : max(shared, self._given) - 1])
        return nothing._replace(nll=nll, shared_nll=shared_nll, first_nll=self._first_nll(row[0]), status=OK)

    def _first_nll(self, token: int) -> float | None:
        """Return the negative log-likelihood of a first token after the start token, or None without a start token."""
        if self._first_logps is None:
            start = self._codec.tokenizer.encode(START)[:1]
            if not start:
                return None
            with torch.inference_mode():
                ids_BT, mask_BT = padded_rows([start], self._codec.pad, self._model.device.kind)
                logits_V = self._model.network(input_ids=ids_BT, attention_mask=mask_BT).logits[0, 0]
                self._first_logps = logits_V.float().log_softmax(-1).cpu()
        return -float(self._first_logps[token])

    def _tokens_nll(self, rows: Sequence[list[int]]) -> dict[tuple[int, ...], list[float]]:
        """Return {row: negative log-likelihood of each token after the first}."""
        last_tokens: dict[tuple[int, ...], list[int]] = {}  # row without its last token -> last tokens
        for row in rows:
            ends = last_tokens.setdefault(tuple(row[:-1]), [])
            if row[-1] not in ends:
                ends.append(row[-1])
        inputs = list(last_tokens)
        nll_by_row: dict[tuple[int, ...], list[float]] = {}
        for places in by_length([len(each) for each in inputs], self._budget):
            batch = [inputs[place] for place in places]
            for read, (inner, final) in zip(
                batch, self._batch(batch, [last_tokens[read] for read in batch]), strict=True
            ):
                for token, nll in zip(last_tokens[read], final, strict=True):
                    nll_by_row[*read, token] = [*inner, nll]
        return nll_by_row

    def _batch(
        self, batch: Sequence[tuple[int, ...]], ends: Sequence[list[int]]
    ) -> list[tuple[list[float], list[float]]]:
        """Return for each row the losses of its tokens after the first, and the losses of each possible next token."""
        ids_BT, mask_BT = padded_rows(batch, self._codec.pad, self._model.device.kind)
        with torch.inference_mode():
            logits_BTV = self._model.network(input_ids=ids_BT, attention_mask=mask_BT).logits
            last = torch.tensor([len(row) - 1 for row in batch], device=ids_BT.device)
            final_BV = logits_BTV[torch.arange(len(batch), device=ids_BT.device), last].float().log_softmax(-1).cpu()
            inner_NV = logits_BTV[:, :-1].float().flatten(0, 1)
            inner_BT = (
                torch.nn.functional.cross_entropy(inner_NV, ids_BT[:, 1:].flatten(), reduction="none")
                .view(len(batch), ids_BT.shape[1] - 1)  # not -1: rows of one token have no inner tokens
                .double()
                .tolist()
            )
        return [
            (inner[: len(row) - 1], [-float(final_V[token]) for token in tokens])
            for row, inner, final_V, tokens in zip(batch, inner_BT, final_BV, ends, strict=True)
        ]


def _common(rows: Sequence[list[int]]) -> int:
    """Return the length of the rows' longest common prefix."""
    shared = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def choice_texts(context: str, question: str, options: Sequence[str]) -> list[str]:
    """Return a question as complete texts, one for each answer, each ending in the answer's letter.

    The prompt adds no words, so it is the same in every language.
    """
    letters = [chr(ord("A") + place) for place in range(len(options))]
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return [f"{context} {question}\n{listed}\n({letter}" for letter in letters]
