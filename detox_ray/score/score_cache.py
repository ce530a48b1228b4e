"""The score cache: earlier scores, kept beside the runs of a storage, so that other runs need not compute them again.

    .score-cache/<scorer and device>/<language, or any>/<unit's key>.parquet     text (hash), one column per attribute

Only values are stored: no texts, and no failures, which are scored again. Parts are written atomically and never
changed, so several actors can read and write at the same time. Two that score the same text both write it, with equal
values. A part that cannot be read, or a cache that cannot be written, only costs time. An actor reads each part once,
and stops when it holds `HELD_BYTES`.
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
HELD_BYTES = 2 << 30  # most bytes of known scores in an actor's memory
SLOW_LISTING_S = 0.01  # if a listing takes longer, it is not repeated for each unit
ANY = "any"  # stands for the language if scores do not depend on it

log = logging.getLogger(__name__)


def text_hash(text: str) -> bytes:
    """Return the hash of a text. The text is not normalised."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ScoreCache:
    """The scores of one scorer on one kind of device. Before a look-up, parts that are new are read."""

    def __init__(self, store: Store, identity: str, attributes: Sequence[str]):
        """Open the cache.

        Args:
            store: The run's folder, which has the cache beside it.
            identity: Hash of everything that changes a value: revision, settings, device.
            attributes: The scorer's attributes.
        """
        self._store, self._folder, self._attributes = store.beside, f"{FOLDER}/{identity}", list(attributes)
        self._schema = pa.schema([("text", HASH), *((attribute, pa.float64()) for attribute in attributes)])
        self._known: dict[str, ScoreIndex] = {}  # by language
        self._read: set[str] = set()
        self._listed: set[str] = set()  # languages
        self._next_listing = 0.0

    def find(self, texts: Sequence[str], language: str) -> dict[str, Scores]:
        """Return text -> scores for those texts that are known."""
        found = self._refresh(language).find([text_hash(text) for text in texts])
        return {texts[place]: dict(zip(self._attributes, values, strict=True)) for place, values in found.items()}

    def add(self, scores: Mapping[str, Scores], language: str, part: str) -> None:
        """Store ``scores`` (text -> scores) as ``part``."""
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
            log.warning("the score cache cannot be written, so these texts may be scored again: %s", error)
            return
        self._read.add(path)
        self._index(language).add([table])

    def _index(self, language: str) -> ScoreIndex:
        return self._known.setdefault(language, ScoreIndex(self._attributes))

    def _refresh(self, language: str) -> ScoreIndex:
        """Read the parts that were added since the last call, and return all known scores of the language."""
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
                # `pq.read_table` would read in threads that may hold the bytes when the interpreter ends, which aborts.
                part = pq.ParquetFile(pa.BufferReader(self._store.read_bytes(path))).read(use_threads=False)
                tables.append(part.cast(self._schema))
                held += tables[-1].nbytes
            except (OSError, ValueError, pa.ArrowException) as error:
                log.warning("the part %s of the score cache cannot be read and is ignored: %s", path, error)
        index.add(tables)
        return index
