"""The score cache: earlier scores, kept beside the runs of a storage, so that its other runs need not score again.

    .score-cache/<scorer and device>/<language, or any>/<unit's key>.parquet     text (hash), one column per attribute

Only values are kept: a failed text is scored again, and no text is stored. Parts are written whole and never changed,
so several actors read and write at once; two that score the same text at once both write it, with equal values. A part
that cannot be read, or a cache that cannot be written, only costs time. An actor reads each part once, and leaves out
what would exceed `HELD_BYTES`.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.score.score_index import ScoreIndex
from detox_ray.score.scorers import Scores
from detox_ray.storage import Store

FOLDER = ".score-cache"  # no run can have this name
HASH = pa.binary(16)
HELD_BYTES = 2 << 30  # of known scores in an actor's memory
SLOW_LISTING_S = 0.01  # a listing that takes longer is not repeated for each unit
ANY = "any"  # instead of a language, for scorers whose scores do not depend on it

log = logging.getLogger(__name__)


def text_hash(text: str) -> bytes:
    """Hash the text as it is."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ScoreCache:
    """The scores of one scorer on one kind of device. Parts are read once, new ones before each look-up."""

    def __init__(self, store: Store, identity: str, attributes: Sequence[str]):
        """Open the cache. ``identity`` changes with all that changes a value: revision, settings, device."""
        self._store, self._folder, self._attributes = store.beside, f"{FOLDER}/{identity}", list(attributes)
        self._schema = pa.schema([("text", HASH), *((attribute, pa.float64()) for attribute in attributes)])
        self._known: dict[str, ScoreIndex] = {}  # by language
        self._read: set[str] = set()
        self._listed: set[str] = set()  # languages
        self._next_listing = 0.0

    def find(self, texts: Sequence[str], language: str) -> dict[str, Scores]:
        """Return the scores of the texts that are known, by text."""
        found = self._refresh(language).find([text_hash(text) for text in texts])
        return {texts[place]: dict(zip(self._attributes, values, strict=True)) for place, values in found.items()}

    def add(self, scores: Mapping[str, Scores], language: str, part: str) -> None:
        """Keep ``scores`` (text -> scores) as ``part``."""
        if not scores:
            return
        columns: list[Any] = [pa.array([text_hash(text) for text in scores], HASH)]
        columns += [pa.array([each[name] for each in scores.values()], pa.float64()) for name in self._attributes]
        table = pa.table(columns, schema=self._schema)
        sink, path = pa.BufferOutputStream(), f"{self._folder}/{language}/{part}.parquet"
        pq.write_table(table, sink, compression="zstd")
        try:
            self._store.write_bytes(path, sink.getvalue().to_pybytes())
        except (OSError, pa.ArrowException) as error:
            log.warning("the score cache cannot be written: %s", error)
            return
        self._read.add(path)
        self._index(language).add([table])

    def _index(self, language: str) -> ScoreIndex:
        return self._known.setdefault(language, ScoreIndex(self._attributes))

    def _refresh(self, language: str) -> ScoreIndex:
        """Read the parts that were added since the last time, and return all that is known of the language."""
        index, begun = self._index(language), time.monotonic()
        if language in self._listed and begun < self._next_listing:
            return index
        tables: list[pa.Table] = []
        new = [path for path in self._store.files(f"{self._folder}/{language}") if path not in self._read]
        seconds = time.monotonic() - begun
        self._listed.add(language)
        self._next_listing = begun + (100 * seconds if seconds > SLOW_LISTING_S else 0)
        held = sum(known.bytes for known in self._known.values())
        for path in new:
            self._read.add(path)
            if held > HELD_BYTES:
                continue
            try:
                tables.append(pq.read_table(pa.BufferReader(self._store.read_bytes(path))).cast(self._schema))
                held += tables[-1].nbytes
            except (OSError, ValueError, pa.ArrowException) as error:
                log.warning("the score cache's %s cannot be read and is left out: %s", path, error)
        index.add(tables)
        return index
