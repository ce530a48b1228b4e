"""From the committed pairs to what the trainer sees: which pairs fit, and which validate.

A pair is the text of prompt and completion joined as they stand, as in generation, with no separator. TRL then appends
the tokenizer's end token to both completions (as its version did that Li et al. 2024 trained with): the model also
learns that the text may end there, equally for both, so the preference itself says nothing of length.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyarrow as pa

from detox_ray.config import InputError

Pairs = list[dict[str, str]]  # prompt, chosen, rejected


class Split(NamedTuple):
    """Pairs to train on and to validate with."""

    train: Pairs
    validation: Pairs
    validation_batch: int  # pairs per worker and forward pass in validation
    dropped: int  # pairs whose prompt leaves no room for a completion


def split(
    rows: pa.Table,
    prompt_lengths: Callable[[Sequence[str]], list[int]],
    max_length: int,
    fraction: float,
    workers: int,
    batch_size: int,
    seed: int,
) -> Split:
    """Divide the PAIRS table by ``seed``.

    ``prompt_lengths`` gives tokens per prompt. Pairs whose prompt alone fills ``max_length`` are dropped and counted:
    TRL would cut away their completions. The validation part is ``fraction`` of the rest, rounded so that every
    worker gets the same number of full batches: the trainer fills up a ragged last batch with repeated pairs, which
    would count twice in the mean. Raises InputError where nothing is left to train on.
    """
    pairs = rows.select(["prompt", "chosen", "rejected"]).to_pylist()
    lengths = prompt_lengths([pair["prompt"] for pair in pairs]) if pairs else []
    fitting = [pair for pair, length in zip(pairs, lengths, strict=True) if length < max_length]
    batches, batch = validation_batches(round(len(fitting) * fraction), workers, batch_size)
    count = min(workers * batches * batch, len(fitting) - 1)
    if count < workers * batches * batch:  # too few pairs to give every worker one
        count, batch = 0, 0
    order = list(range(len(fitting)))
    random.Random(seed).shuffle(order)
    held_out = set(order[:count])
    train = [pair for index, pair in enumerate(fitting) if index not in held_out]
    if not train:
        raise InputError(f"no pairs to train on: of {len(pairs)}, {len(pairs) - len(fitting)} have prompts that fill "
                         f"max_length ({max_length} tokens)")  # fmt: skip
    return Split(train, [fitting[i] for i in sorted(held_out)], batch, len(pairs) - len(fitting))


def validation_batches(wanted: int, workers: int, batch_size: int) -> tuple[int, int]:
    """(batches per worker, pairs per batch) whose product over workers is next to ``wanted``; (0, 0) for none."""
    per_worker = wanted / workers
    if per_worker < 0.5:
        return 0, 0
    batches = math.ceil(per_worker / batch_size)
    return batches, min(batch_size, max(1, round(per_worker / batches)))
