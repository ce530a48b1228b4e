"""Batches for classifiers and language models: rows of similar length together, so that a batch has little padding.

Completions differ in length by an order of magnitude. In their original order, a batch is as wide as its longest text
and mostly padding. Sorted by length, and cut into batches that fill a budget of padded tokens, there is hardly any.

Shapes: B texts, T tokens, C classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from detox_ray.models.padding import Padding, padded_rows
from detox_ray.score.label_mapping import Output
from detox_ray.score.scorers import Failure, Scores, checked

if TYPE_CHECKING:
    import torch

# Most padded tokens of a batch on a CPU: the activations of more do not fit into its caches. 200 texts through an XLM-R
# base on two cores took 30 CPU seconds with 1,024 tokens, 29 to 34 with 2,048, 37 with 4,096 and 50 with 8,192.
CPU_TOKENS = 1024
LOGITS = 2**27  # most logits of a batch: half a GiB in float32
CHARACTERS = 16  # per token, for a first cut of long text; no piece of a SentencePiece vocabulary is longer


def token_budget(wanted: int, device: str, vocabulary: int = 1) -> int:
    """Return how many padded tokens a batch may have.

    Args:
        wanted: `score.batch_tokens`.
        device: Kind of device, "cuda" or "cpu".
        vocabulary: Number of logits per token, if the model predicts tokens.
    """
    most = wanted if device == "cuda" else min(wanted, CPU_TOKENS)
    return min(most, max(1, LOGITS // vocabulary))


def by_length(lengths: Sequence[int], budget: int, padded: bool = True) -> Iterator[list[int]]:
    """Yield batches of row indices. Each has at most ``budget`` padded tokens, or a single row.

    The longest rows come first, so that a batch that does not fit into memory fails at once.

    Args:
        lengths: Number of tokens of each row.
        budget: Most padded tokens of a batch.
        padded: Whether rows can be padded. If not, all rows of a batch have the same length.
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


class TokenRow(NamedTuple):
    """A text's token ids, including special tokens, and their types if the tokenizer has token types."""

    ids: list[int]
    types: list[int] | None


class TokenizedTexts(NamedTuple):
    """The tokens of some texts, in the order of the texts."""

    rows: list[TokenRow | Failure]
    truncated: int  # number of texts that were too long


def tokenize(tokenizer: Any, texts: Sequence[str], most: int) -> TokenizedTexts:
    """Tokenize each text, and keep the first ``most`` tokens of the whole text.

    A line of 100 kB is not tokenized as a whole, but cut by characters first. This may change the tokens near the cut,
    so the cut is moved until at least ``most`` tokens lie between the tokens that are kept and the cut.
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
            (row,) = _rows(tokenizer, [text[:end]], most)  # tokenize again, to get the special tokens at the end
        rows[place] = row if isinstance(row, Failure) or row.ids else Failure("no token")
    return TokenizedTexts(rows, truncated)


def _rows(tokenizer: Any, texts: list[str], most: int | None) -> list[TokenRow | Failure]:
    """Tokenize all texts at once. If that raises, tokenize each by itself, so that only the bad ones fail."""
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
    return [TokenRow(list(ids), of_row) for ids, of_row in zip(encoded["input_ids"], types, strict=True)]


Inputs = Mapping[str, "torch.Tensor"]  # input_ids, attention_mask and token_type_ids, each (B, T)
Forward = Callable[[Inputs], "torch.Tensor"]  # -> probabilities (B, C)


def batch_of(rows: Sequence[TokenRow], pad: int | None) -> dict[str, "torch.Tensor"]:
    """Make the inputs (B, T) of some rows, padded on the right with ``pad``, which may be None if no row needs it."""
    assert pad is not None or len({len(row.ids) for row in rows}) == 1
    ids_BT, mask_BT = padded_rows([row.ids for row in rows], pad or 0)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    types = [row.types for row in rows if row.types is not None]
    if len(types) == len(rows):
        inputs["token_type_ids"], _ = padded_rows(types, 0)
    return inputs


class BatchedClassifier:
    """A tokenizer and a network that score texts in batches of similar length."""

    def __init__(
        self,
        tokenizer: Any,
        most: int,
        forward: Forward,
        outputs: Mapping[str, Output],
        padding: Padding,
        batch_tokens: int,
    ):
        """Store the tokenizer, the network and how to use them.

        Args:
            tokenizer: A tokenizer of transformers.
            most: How many tokens of a text the model reads.
            forward: Maps inputs to probabilities.
            outputs: Attribute -> the probabilities that make up its value.
            padding: How to pad the model's rows.
            batch_tokens: Most padded tokens of a batch.
        """
        self._tokenizer, self._most, self._forward, self._outputs = tokenizer, most, forward, dict(outputs)
        self._padding, self._budget = padding, batch_tokens
        self.truncated = 0  # number of texts that were cut in the last call

    def score(self, texts: Sequence[str]) -> list[Scores | Failure]:
        """Return a result for each text, in order."""
        encoded = tokenize(self._tokenizer, texts, self._most)
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

    def _known(self, row: TokenRow | Failure) -> TokenRow | Failure:
        """Return a Failure if the model has no vector for a token. On a GPU, such a token would kill the process."""
        size = self._padding.vocabulary
        if isinstance(row, Failure) or size is None or max(row.ids) < size:
            return row
        return Failure(f"token {max(row.ids)} is not in the model's vocabulary of {size}")

    def _batch(self, rows: list[TokenRow]) -> list[Scores | Failure]:
        """Score all rows at once. If that raises, score each half by itself, so that only the bad rows fail."""
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
