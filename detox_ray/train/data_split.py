"""Splitting of rows into those for training and those for validation.

The split is the same as by `datasets.train_test_split`, which both papers use: a seed holds out the same rows.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from detox_ray.config import InputError, TrainConfig
from detox_ray.config.train import TEXTS
from detox_ray.storage.tables import PAIRS
from detox_ray.train import tokenization
from detox_ray.train.tokenization import Row


class Split(NamedTuple):
    """Tokenised rows for training and for evaluation."""

    train: list[Row]
    validation: list[Row]
    validation_batch: int  # rows (or pairs, if a row is a pair) per worker and forward pass in evaluation
    dropped: int  # source rows that the length filter left out, or in which nothing remained to learn


def split(table: pa.Table, tokenizer: Any, config: TrainConfig, workers: int, field: str) -> Split:
    """Tokenise the PAIRS table, or the corpus, and divide it by ``split_seed``.

    ``validation_fraction`` of the rows, rounded up, is held out. At most ``validation_limit`` of them are evaluated, in
    a number that gives every worker the same number of full batches: the trainer would fill an incomplete last batch
    with repeated rows, which would count twice in the mean. A corpus with a column ``split`` has its own validation
    rows.

    Args:
        table: PAIRS, or the texts of a corpus.
        tokenizer: The parent's tokenizer.
        config: The train block.
        workers: Number of workers that evaluate.
        field: The train block's field in the experiment, for messages.

    Raises:
        InputError: If the table does not fit the method, no row remains for training, or too few for evaluation.
    """
    rows = _rows(table, config, field)
    tokenise = tokenization.text_rows if config.train_on in TEXTS else tokenization.pair_rows
    kept = [
        (row, tokenised) for row, tokenised in zip(rows, tokenise(rows, tokenizer, config), strict=True) if tokenised
    ]
    stated = [row.get("split") == "validation" for row, _ in kept]
    if any(stated):
        held = [index for index, held_out in enumerate(stated) if held_out]
        order = [index for index, held_out in enumerate(stated) if not held_out]
    else:
        permutation = np.random.default_rng(config.split_seed).permutation(len(kept)).tolist()
        count = math.ceil(config.validation_fraction * len(kept))
        held, order = permutation[:count], permutation[count:]
    if config.validation_fraction == 0:
        held = []
    train = [row for index in order for row in kept[index][1]][: config.train_limit]
    validation = [row for index in held for row in kept[index][1]][: config.validation_limit]
    if not train:
        raise InputError(f"{field}: no rows to train on: of {len(rows)}, {len(rows) - len(kept)} were left out by "
                         f"their length (max_length {config.max_length}, length_filter {config.length_filter}) and "
                         f"{len(held)} are for validation")  # fmt: skip
    batches, batch = evaluation_batches(len(validation), workers, config.batch_size)
    if not batches and config.validation_fraction > 0 and (config.evaluate_every or config.keep == "best"):
        raise InputError(f"{field}.validation_fraction: {config.validation_fraction} leaves {len(validation)} rows for "
                         f"{workers} workers to evaluate: raise it, or set it to 0")  # fmt: skip
    return Split(train, validation[: workers * batches * batch], batch, len(rows) - len(kept))


def _rows(table: pa.Table, config: TrainConfig, field: str) -> list[dict[str, Any]]:
    """Check the table and return its first ``data_fraction`` (train_perc of Li et al., which precedes all filters)."""
    needed = ["text_id", "text"] if config.train_on in TEXTS else ["pair_id", "prompt", "chosen", "rejected"]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        what = "the corpus" if config.train_on in TEXTS else f"method {config.method} learns from pairs, which"
        raise InputError(f"{field}: {what} must have {', '.join(needed)}; {', '.join(missing)} missing "
                         f"(there are {', '.join(table.column_names)})")  # fmt: skip
    table = table.select([*needed, *(["split"] if "split" in table.column_names else [])])
    for name in needed:
        if table[name].type != PAIRS.columns.field("prompt").type or table[name].null_count:
            wrong = next(i for i, value in enumerate(table[name].to_pylist()) if not isinstance(value, str))
            raise InputError(f"{field}: {name} of row {wrong} is {table[name][wrong]}, not a text")
    return table.slice(0, int(table.num_rows * config.data_fraction)).to_pylist()


def evaluation_batches(rows: int, workers: int, batch_size: int) -> tuple[int, int]:
    """Return (batches per worker, rows per batch) that evaluate most of ``rows``; (0, 0) if a worker would get none.

    Batches are at least half of ``batch_size`` if there are enough rows.
    """
    share = rows // workers
    if share <= batch_size:
        return min(share, 1), share
    batch = max(range(-(-batch_size // 2), batch_size + 1), key=lambda size: (share // size * size, size))
    return share // batch, batch
