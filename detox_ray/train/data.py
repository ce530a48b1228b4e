"""Which rows train and which validate.

The split is that of `datasets.train_test_split`, which both papers use: the same seed holds out the same rows.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from detox_ray.config import InputError, TrainConfig
from detox_ray.storage.tables import PAIRS
from detox_ray.train import tokens
from detox_ray.train.tokens import Row


class Split(NamedTuple):
    """Tokenised rows to train on and to evaluate with."""

    train: list[Row]
    validation: list[Row]
    validation_batch: int  # rows per worker and forward pass in evaluation; of pairs where a row is a pair
    dropped: int  # source rows that the length filter left out, or that left nothing to learn


def split(table: pa.Table, tokenizer: Any, config: TrainConfig, workers: int, field: str) -> Split:
    """Tokenise the PAIRS table, or the corpus, and divide it by ``split_seed``.

    ``field`` is the train block's place in the experiment, for errors. Held out is ``validation_fraction`` of the rows,
    rounded up; evaluated are as many of them as give every worker the same number of full batches, up to
    ``validation_limit``: the trainer would fill a ragged last batch with repeated rows, which count twice in the mean.
    A corpus whose column ``split`` says "validation" brings its own. Raises InputError where the table does not fit the
    method, nothing is left to train on, or too little to evaluate what the train block wants evaluated.
    """
    rows = _rows(table, config, field)
    tokenise = tokens.text_rows if config.train_on == "corpus" else tokens.pair_rows
    found = tokenise(rows, tokenizer, config)
    kept = [(row, made) for row, made in zip(rows, found, strict=True) if made]
    own = [row.get("split") == "validation" for row, _ in kept]
    if any(own):
        held = [index for index, held_out in enumerate(own) if held_out]
        order = [index for index, held_out in enumerate(own) if not held_out]
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
    """The first ``data_fraction`` of the table (Li et al.'s train_perc: before any filter), of a checked format."""
    needed = ["text_id", "text"] if config.train_on == "corpus" else ["pair_id", "prompt", "chosen", "rejected"]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        what = "the corpus" if config.train_on == "corpus" else f"method {config.method} learns from pairs, which"
        raise InputError(f"{field}: {what} must have {', '.join(needed)}; {', '.join(missing)} missing "
                         f"(there are {', '.join(table.column_names)})")  # fmt: skip
    table = table.select([*needed, *(["split"] if "split" in table.column_names else [])])
    for name in needed:
        if table[name].type != PAIRS.columns.field("prompt").type or table[name].null_count:
            wrong = next(i for i, value in enumerate(table[name].to_pylist()) if not isinstance(value, str))
            raise InputError(f"{field}: {name} of row {wrong} is {table[name][wrong]}, not a text")
    return table.slice(0, int(table.num_rows * config.data_fraction)).to_pylist()


def evaluation_batches(rows: int, workers: int, batch_size: int) -> tuple[int, int]:
    """(batches per worker, rows per batch) that evaluate the most of ``rows``; (0, 0) where not every worker gets one.

    Batches are at least half of ``batch_size`` where there are rows enough.
    """
    each = rows // workers
    if each <= batch_size:
        return min(each, 1), each
    batch = max(range(-(-batch_size // 2), batch_size + 1), key=lambda size: (each // size * size, size))
    return each // batch, batch
