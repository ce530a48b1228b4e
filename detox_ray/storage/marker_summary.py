"""The markers of many units in one file, so that a finished run is read with a few requests instead of one per unit.

The markers themselves, each written by the process that commits its unit, remain the truth. A summary holds those that
the run's driver has read, by unit and key. A unit that is to be made again under the same key (`--retry-failed`) is
removed from the summary first. An outdated summary can therefore lack markers, but it never has a wrong one.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.storage.store import Store, Superseded
from detox_ray.storage.units import Unit

SCHEMA = pa.schema([("marker", pa.string()), ("content", pa.string())])
THREADS = 16  # object stores answer slowly, and many at once

Markers = dict[Unit, dict[str, Any]]


def read(store: Store, units: Mapping[Unit, str], keep: bool) -> Markers:
    """Return the markers of committed units. Units that another run replaces meanwhile are left out.

    Args:
        store: The run's folder.
        units: Committed units, with their keys.
        keep: Whether to add to the summaries the markers that they lack. Only the holder of the folder may.
    """
    by_table: dict[str, dict[Unit, str]] = {}
    for unit, key in units.items():
        by_table.setdefault(unit.table, {})[unit] = key
    markers: Markers = {}
    for table, keys in by_table.items():
        markers |= _read(store, table, keys, keep)
    return markers


def forget(store: Store, units: Mapping[Unit, str]) -> None:
    """Remove units that are about to be made from the summaries. Only the holder of the folder may call this.

    Args:
        store: The run's folder.
        units: The units, with the keys under which they will be committed.
    """
    for table in sorted({unit.table for unit in units}):
        path = f"commits/{table}.parquet"
        known = _summary(store, path)
        stems = {unit.stem(key) for unit, key in units.items() if unit.table == table}
        kept = {stem: content for stem, content in known.items() if stem not in stems}
        if kept and len(kept) < len(known):
            store.write_bytes(path, _file(kept.items()))
        elif known and not kept:
            store.delete(path)


def _read(store: Store, table: str, units: Mapping[Unit, str], keep: bool) -> Markers:
    """Return the markers of units of one table."""
    path = f"commits/{table}.parquet"
    known = _summary(store, path)
    missing = [(unit, key) for unit, key in units.items() if unit.stem(key) not in known]

    def marker(unit: Unit, key: str) -> dict[str, Any] | None:
        try:
            return store.info(unit, key)
        except Superseded:
            return None

    with ThreadPoolExecutor(THREADS) as pool:
        contents = list(pool.map(lambda pair: marker(*pair), missing))
    found = {unit: content for (unit, _), content in zip(missing, contents, strict=True) if content is not None}
    if keep and found:
        written = {unit.stem(units[unit]): json.dumps(content) for unit, content in found.items()}
        current = {unit.stem(key): known[unit.stem(key)] for unit, key in units.items() if unit.stem(key) in known}
        store.write_bytes(path, _file((current | written).items()))
    kept = {unit: json.loads(known[unit.stem(key)]) for unit, key in units.items() if unit.stem(key) in known}
    return {unit: (kept.get(unit) or found[unit]) for unit in units if unit in kept or unit in found}


def _summary(store: Store, path: str) -> dict[str, str]:
    """Return the stem of each unit's part -> its marker as JSON; empty if there is no readable summary."""
    try:
        # `pq.read_table` would read in threads that may still hold the bytes when the interpreter ends, which aborts.
        table = pq.ParquetFile(pa.BufferReader(store.read_bytes(path))).read(use_threads=False).cast(SCHEMA)
    except (OSError, ValueError, pa.ArrowException):
        return {}
    return dict(zip(table["marker"].to_pylist(), table["content"].to_pylist(), strict=True))


def _file(rows: Iterable[tuple[str, str]]) -> bytes:
    names, contents = zip(*rows, strict=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([names, contents], schema=SCHEMA), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
