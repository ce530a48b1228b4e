"""The tables of a file on its way through scorers: its rows, its texts by language, and their scores.

Rows stand in blocks, in the file's order. Texts of one language stand in shards, in the file's order too, so that the
scores of a block are the next ones of each language: no table of the whole file is ever in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.storage import Store, Unit, define
from detox_ray.storage.markers import ScoreMarker
from detox_ray.storage.tables import EMPTY, OK, UNSUPPORTED

ROWS_PER_UNIT = 2_000

FILE_ROWS = define(
    "file_rows",
    (),
    [
        pa.field("row", pa.int64(), nullable=False),  # from 0
        pa.field("text", pa.string()),  # null if the row has none that can be read
        pa.field("language", pa.string()),  # null if the row cannot be used
        pa.field("identified", pa.bool_(), nullable=False),  # whether the language is an identifier's guess
        pa.field("reason", pa.string()),  # why the row cannot be used
        pa.field("kept", pa.string(), nullable=False),  # columns to keep, as JSON
    ],
)
FILE_TEXTS = define(
    "file_texts",
    ("language",),
    [pa.field("row", pa.int64(), nullable=False), pa.field("text", pa.string(), nullable=False)],
)
FILE_SCORES = define(
    "file_scores",
    ("scorer", "language"),
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)


class ScoredRows(NamedTuple):
    """Scores of N texts, one after another."""

    values: dict[str, NDArray[np.float64]]  # attribute -> (N,); NaN unless the status is "ok"
    statuses: list[str]


class LanguageScores:
    """One scorer's scores in one language, read shard by shard."""

    def __init__(self, store: Store, units: Sequence[tuple[Unit, str]]):
        self._store, self._units = store, iter(units)
        self._shard = ScoredRows({}, [])
        self._place = 0

    def take(self, count: int) -> Iterator[ScoredRows]:
        """Yield the next ``count`` scores, in pieces."""
        while count:
            if self._place == len(self._shard.statuses):
                self._shard, self._place = _wide(self._store.read(*next(self._units))), 0
            begin, end = self._place, min(self._place + count, len(self._shard.statuses))
            values = {name: column[begin:end] for name, column in self._shard.values.items()}
            yield ScoredRows(values, self._shard.statuses[begin:end])
            count -= end - begin
            self._place = end


def _wide(rows: pa.Table) -> ScoredRows:
    """Turn a unit's rows, a block for each attribute, into columns."""
    values: dict[str, NDArray[np.float64]] = {}
    statuses: list[str] = []
    for name in pc.unique(rows["attribute"]).to_pylist():
        block = rows.filter(pc.equal(rows["attribute"], name))
        column = block["value"].to_numpy(zero_copy_only=False).astype(np.float64)
        values[name] = np.where(pc.equal(block["status"], OK).to_numpy(zero_copy_only=False), column, np.nan)
        statuses = statuses or block["status"].to_pylist()
    return ScoredRows(values, statuses)


def attributes_of(store: Store, units: Mapping[Unit, str], scorer: str) -> list[str]:
    """Return the attributes of a scorer, as its units' markers state them."""
    names: dict[str, None] = {}
    for unit, key in units.items():
        if unit["scorer"] == scorer:
            names.update(dict.fromkeys(store.marker(unit, key, ScoreMarker).attributes))
    return list(names)


class Column(NamedTuple):
    """One column of scores of a block of rows."""

    name: str  # "scorer.attribute"
    values: NDArray[np.float64]


class Block(NamedTuple):
    """A block of rows with all their scores."""

    rows: list[dict[str, Any]]  # of FILE_ROWS
    columns: list[Column]
    statuses: dict[str, list[str]]  # scorer -> status of each row


def blocks(
    store: Store,
    rows: Sequence[tuple[Unit, str]],
    scores: Mapping[tuple[str, str], Sequence[tuple[Unit, str]]],
    attributes: Mapping[str, Sequence[str]],
    unreadable: str,
) -> Iterator[Block]:
    """Yield the file's rows with their scores, in order.

    Args:
        store: Where the units are.
        rows: Units of FILE_ROWS, in order.
        scores: Units of FILE_SCORES of each (scorer, language), in order.
        attributes: The attributes of each scorer.
        unreadable: The status of rows that cannot be used.
    """
    readers = {key: LanguageScores(store, units) for key, units in scores.items()}
    for unit in rows:
        block = store.read(*unit).to_pylist()
        places: dict[str, list[int]] = {}
        for place, row in enumerate(block):
            if row["reason"] is None:
                places.setdefault(row["language"], []).append(place)
        columns: list[Column] = []
        statuses: dict[str, list[str]] = {}
        for scorer, names in attributes.items():
            of_scorer = {name: np.full(len(block), np.nan) for name in names}
            statuses[scorer] = [unreadable] * len(block)
            for language, wanted in places.items():
                begin = 0
                for piece in readers[scorer, language].take(len(wanted)):
                    here = wanted[begin : begin + len(piece.statuses)]
                    for name, values in piece.values.items():
                        of_scorer[name][here] = values
                    for place, status in zip(here, piece.statuses, strict=True):
                        # No language can be identified in white space: that a scorer lacks it says nothing.
                        blank = status == UNSUPPORTED and not block[place]["text"].strip()
                        statuses[scorer][place] = EMPTY if blank else status
                    begin += len(here)
            columns += [Column(f"{scorer}.{name}", values) for name, values in of_scorer.items()]
        yield Block(block, columns, statuses)
