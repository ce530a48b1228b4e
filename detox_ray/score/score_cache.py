"""The score cache: earlier scores, kept beside the runs of a storage, so that its other runs need not score again.

    .score-cache/<scorer and device>/<language, or any>/<unit's key>.parquet     text (hash), one column per attribute

Only values are kept: a failed text is scored again, and no text is stored. Parts are written whole and never changed,
so several actors read and write at once; two that score the same text at once both write it, with equal values. A part
that cannot be read, or a cache that cannot be written, only costs time.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detox_ray.score.scorers import Scores
from detox_ray.storage import Store

FOLDER = ".score-cache"  # no run can have this name
HASH = pa.binary(16)
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
        self._known: dict[str, pa.Table] = {}  # language -> all parts together
        self._read: set[str] = set()

    def find(self, texts: Sequence[str], language: str) -> dict[str, Scores]:
        """Return the scores of the texts that are known, by text."""
        known = self._refresh(language)
        hashes = pa.array([text_hash(text) for text in texts], HASH)
        places = pc.index_in(hashes, value_set=known["text"])
        hits = pc.is_valid(places)
        rows = known.select(self._attributes).take(places.filter(hits)).to_pylist()
        return dict(zip((text for text, hit in zip(texts, hits.to_pylist(), strict=True) if hit), rows, strict=True))

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
        self._known[language] = pa.concat_tables([self._known[language], table])

    def _refresh(self, language: str) -> pa.Table:
        """Read the parts that were added since the last time, and return all of the language."""
        parts = [self._known.get(language, self._schema.empty_table())]
        for path in self._store.files(f"{self._folder}/{language}"):
            if path not in self._read:
                self._read.add(path)
                try:
                    parts.append(pq.read_table(pa.BufferReader(self._store.read_bytes(path))).cast(self._schema))
                except (OSError, ValueError, pa.ArrowException) as error:
                    log.warning("the score cache's %s cannot be read and is left out: %s", path, error)
        self._known[language] = pa.concat_tables(parts)
        return self._known[language]
