"""Batches for classifiers and language models: rows of similar length together, so that little of a batch is padding.

Completions differ in length by an order of magnitude. In the order they come, a batch is as wide as its longest text
and most of it is padding; sorted by length, and as many rows as fit in a budget of padded tokens, next to none is.

Shapes: B texts, T tokens, C classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from detox_ray.models.padding import Padding, padded_rows
from detox_ray.score.label_mapping import Output
from detox_ray.score.scorers import Failure, Scores, checked

if TYPE_CHECKING:
    import torch

# Of a batch on a CPU, at most: activations of more fall out of its caches. 200 texts through an XLM-R base on two
# cores took 30 CPU seconds with 1,024 tokens, 29 to 34 with 2,048, 37 with 4,096 and 50 with 8,192.
CPU_TOKENS = 1024
CHARACTERS = 16  # per token, for a first cut of long text: no piece of a SentencePiece vocabulary is longer


def by_length(lengths: Sequence[int], budget: int, padded: bool = True) -> Iterator[list[int]]:
    """Indices of all rows, longest first, in batches of at most ``budget`` padded tokens, and at least one row.

    Longest first, so that what does not fit in memory fails at once. Without padding (``padded``), a batch has rows of
    one length.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    begin = 0
    while begin < len(order):
        longest = lengths[order[begin]]
        batch = order[begin : begin + max(1, budget // max(1, longest))]
        if not padded:
            batch = [row for row in batch if lengths[row] == longest]
        yield batch
        begin += len(batch)


class Row(NamedTuple):
    """A text's token ids with the special tokens, and their types if the tokenizer gives any."""

    ids: list[int]
    types: list[int] | None


class Encoded(NamedTuple):
    """A row for each text, and how many texts were too long."""

    rows: list[Row | Failure]
    truncated: int


def encode(tokenizer: Any, texts: Sequence[str], most: int) -> Encoded:
    """Tokens of each text, the first ``most`` of what the whole text has.

    A line of 100 kB is not tokenised whole: it is cut in characters first, and taken longer again until at least as
    many tokens as are kept stand between them and the cut, where pieces may differ.
    """
    bound = CHARACTERS * most
    rows = _rows(tokenizer, [text[:bound] for text in texts], None)
    truncated = 0
    for place, text in enumerate(texts):
        row, end = rows[place], bound
        while not isinstance(row, Failure) and len(row.ids) < 2 * most and end < len(text):
            end *= 4
            (row,) = _rows(tokenizer, [text[:end]], None)
        if not isinstance(row, Failure) and len(row.ids) > most:
            truncated += 1
            (row,) = _rows(tokenizer, [text[:end]], most)  # again, for the special tokens at the end
        rows[place] = row if isinstance(row, Failure) or row.ids else Failure("no token")
    return Encoded(rows, truncated)


def _rows(tokenizer: Any, texts: list[str], most: int | None) -> list[Row | Failure]:
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
            verbose=False,
        )
    except Exception as error:
        if len(texts) == 1:
            return [Failure(f"{type(error).__name__}: {error}")]
        return [row for text in texts for row in _rows(tokenizer, [text], most)]
    types = encoded.get("token_type_ids") or [None] * len(texts)
    return [Row(list(ids), of_row) for ids, of_row in zip(encoded["input_ids"], types, strict=True)]


Inputs = Mapping[str, "torch.Tensor"]  # input_ids, attention_mask and token_type_ids, each (B, T)
Forward = Callable[[Inputs], "torch.Tensor"]  # -> probabilities (B, C)


def batch_of(rows: Sequence[Row], pad: int | None) -> dict[str, "torch.Tensor"]:
    """The inputs (B, T) of some rows, padded on the right. ``pad``: None if they are of one length."""
    assert pad is not None or len({len(row.ids) for row in rows}) == 1
    ids_BT, mask_BT = padded_rows([row.ids for row in rows], pad or 0)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    types = [row.types for row in rows if row.types is not None]
    if len(types) == len(rows):
        inputs["token_type_ids"], _ = padded_rows(types, 0)
    return inputs


class BatchedClassifier:
    """Texts to scores by a tokenizer and a network: tokenised once, sorted, in batches by padded tokens.

    ``outputs``: attribute -> where it is in the probabilities. ``truncated``: texts that were cut in the last call.
    """

    def __init__(
        self,
        tokenizer: Any,
        most: int,
        forward: Forward,
        outputs: Mapping[str, Output],
        padding: Padding,
        batch_tokens: int,
    ):
        self._tokenizer, self._most, self._forward, self._outputs = tokenizer, most, forward, dict(outputs)
        self._padding, self._budget, self.truncated = padding, batch_tokens, 0

    def score(self, texts: Sequence[str]) -> list[Scores | Failure]:
        encoded = encode(self._tokenizer, texts, self._most)
        self.truncated = encoded.truncated
        checked_rows = [self._known(row) for row in encoded.rows]
        results: dict[int, Scores | Failure] = {
            p: row for p, row in enumerate(checked_rows) if isinstance(row, Failure)
        }
        rows = {place: row for place, row in enumerate(checked_rows) if not isinstance(row, Failure)}
        places = list(rows)
        lengths = [len(rows[place].ids) for place in places]
        for indices in by_length(lengths, self._budget, padded=self._padding.token is not None):
            batch = [places[index] for index in indices]
            results.update(zip(batch, self._batch([rows[place] for place in batch]), strict=True))
        return [results[place] for place in range(len(texts))]

    def _known(self, row: Row | Failure) -> Row | Failure:
        """A Failure for tokens that the model has no vector for: on a GPU they would end the process."""
        size = self._padding.vocabulary
        if isinstance(row, Failure) or size is None or max(row.ids) < size:
            return row
        return Failure(f"token {max(row.ids)} is not in the model's vocabulary of {size}")

    def _batch(self, rows: list[Row]) -> list[Scores | Failure]:
        """All at once; where that raises, half and half, so that only those that fail do."""
        import torch

        try:
            with torch.inference_mode():
                inputs = batch_of(rows, self._padding.token)
                probabilities_BC = self._forward(inputs).float().cpu().tolist()
        except Exception as error:
            if len(rows) == 1:
                return [Failure(f"{type(error).__name__}: {error}")]
            middle = len(rows) // 2
            return self._batch(rows[:middle]) + self._batch(rows[middle:])
        return [checked({name: o.value(row) for name, o in self._outputs.items()}) for row in probabilities_BC]
