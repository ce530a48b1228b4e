"""Batches for classifiers and language models: rows of like length together, so that little of a batch is padding.

Completions differ in length by an order of magnitude. In the order they come, a batch is as wide as its longest text
and most of it is padding; sorted by length, and as many rows as fit in a budget of padded tokens, next to none is.

Shapes: B texts, T tokens, C classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from detox_ray.score.scorers import Failure, Scores, checked

if TYPE_CHECKING:
    import torch

# Of a batch on a CPU, at most: activations of more fall out of its caches. 200 texts through an XLM-R base on two
# cores took 30 CPU seconds with 1,024 tokens, 29 to 34 with 2,048, 37 with 4,096 and 50 with 8,192.
CPU_TOKENS = 1024
CHARACTERS = 16  # per token, for a first cut of long text: no piece of a SentencePiece vocabulary is longer


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of all rows, longest first, in batches of at most ``budget`` padded tokens, and at least one row.

    Longest first, so that what does not fit in memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    begin = 0
    while begin < len(order):
        rows = max(1, budget // max(1, lengths[order[begin]]))
        yield order[begin : begin + rows]
        begin += rows


class Encoded(NamedTuple):
    """Token ids of each text with the tokenizer's special tokens, and how many texts were too long."""

    ids: list[list[int] | Failure]
    truncated: int


def encode(tokenizer: Any, texts: Sequence[str], most: int) -> Encoded:
    """Token ids of each text, the first ``most`` of what the whole text has.

    A line of 100 kB is not tokenised whole: it is cut in characters first, and taken longer again until at least as
    many tokens as are kept stand between them and the cut, where pieces may differ.
    """
    bound = CHARACTERS * most
    rows = _ids(tokenizer, [text[:bound] for text in texts], None)
    truncated = 0
    for place, text in enumerate(texts):
        ids, end = rows[place], bound
        while not isinstance(ids, Failure) and len(ids) < 2 * most and end < len(text):
            end *= 4
            (ids,) = _ids(tokenizer, [text[:end]], None)
        if not isinstance(ids, Failure) and len(ids) > most:
            truncated += 1
            (ids,) = _ids(tokenizer, [text[:end]], most)  # again, for the special tokens at the end
        rows[place] = ids if ids else Failure("no token")
    return Encoded(rows, truncated)


def _ids(tokenizer: Any, texts: list[str], most: int | None) -> list[list[int] | Failure]:
    """All at once; where that raises, each alone, so that only those that fail do (a lone surrogate, say)."""
    if not texts:
        return []
    try:
        encoded = tokenizer(
            texts,
            truncation=most is not None,
            max_length=most,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
    except Exception as error:
        if len(texts) == 1:
            return [Failure(f"{type(error).__name__}: {error}")]
        return [ids for text in texts for ids in _ids(tokenizer, [text], most)]
    return list(encoded["input_ids"])


Forward = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]  # ids (B, T), mask (B, T) -> probabilities (B, C)


class BatchedClassifier:
    """Texts to scores by a tokenizer and a network: tokenised once, sorted, in batches by padded tokens.

    ``classes``: attribute -> its column in the probabilities. ``truncated``: texts that were cut in the last call.
    """

    def __init__(self, tokenizer: Any, most: int, forward: Forward, classes: Mapping[str, int], batch_tokens: int):
        self._tokenizer, self._most, self._forward, self._classes = tokenizer, most, forward, dict(classes)
        self._budget, self.truncated = batch_tokens, 0
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def score(self, texts: Sequence[str]) -> list[Scores | Failure]:
        encoded = encode(self._tokenizer, texts, self._most)
        self.truncated = encoded.truncated
        found: dict[int, Scores | Failure] = {r: ids for r, ids in enumerate(encoded.ids) if isinstance(ids, Failure)}
        ids = {row: ids for row, ids in enumerate(encoded.ids) if not isinstance(ids, Failure)}
        rows = list(ids)
        for places in by_length([len(ids[row]) for row in rows], self._budget):
            batch = [rows[place] for place in places]
            found.update(zip(batch, self._batch([ids[row] for row in batch]), strict=True))
        return [found[row] for row in range(len(texts))]

    def _batch(self, ids: list[list[int]]) -> list[Scores | Failure]:
        """All at once; where that raises, half and half, so that only those that fail do."""
        import torch

        longest = max(map(len, ids))
        ids_BT = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in ids])
        mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        try:
            with torch.inference_mode():
                probabilities_BC = self._forward(ids_BT, mask_BT).float().cpu().tolist()
        except Exception as error:
            if len(ids) == 1:
                return [Failure(f"{type(error).__name__}: {error}")]
            middle = len(ids) // 2
            return self._batch(ids[:middle]) + self._batch(ids[middle:])
        return [checked({name: row[column] for name, column in self._classes.items()}) for row in probabilities_BC]
