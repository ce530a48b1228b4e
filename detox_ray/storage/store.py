"""A run's folder on any filesystem that pyarrow knows: parts, commit markers, keys.

A unit is the smallest piece of work that is committed at once: one Parquet part of a table. First the part is written,
then its marker. Only parts with a marker count, so a run that is killed at any moment resumes from its markers:

    generations/model=detox/language=fr/00000-<key>.parquet        the part
    commits/generations/model=detox/language=fr/00000-<key>.json   its marker: number of rows, and facts from the stage

The key is a hash of everything that changes the unit's result. Committing a unit again under the same key does nothing.
Under a new key, the new part and its marker are complete before the old ones are deleted. So a reader that uses
`committed` always finds the unit, under either the old key or the new one; a reader that lists the Parquet folders
itself may for a moment see the rows of both. After a crash between the two steps, the marker with the higher order
counts, and `tidy` or the next commit of the unit removes the other.
"""

import bisect
import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from detox_ray.storage.folder import KEY_LENGTH, TRANSFERS, Fence, Folder, StoreError, cache_folder, key_of
from detox_ray.storage.markers import Marker
from detox_ray.storage.units import TABLES, Table, Unit

__all__ = ["KEY_LENGTH", "Fence", "Store", "StoreError", "Superseded", "Table", "Unit", "cache_folder", "key_of"]

T = TypeVar("T")
M = TypeVar("M", bound=Marker)


class Superseded(StoreError):
    """A unit that was committed under another key before its reader could read it."""


class _OpenPart(NamedTuple):
    """A part that is open to be read in pieces."""

    path: str
    file: pq.ParquetFile
    starts: list[int]  # the first row of each row group, followed by the number of rows

    @classmethod
    def at(cls, path: str, opened: Any) -> Self:
        file = pq.ParquetFile(opened)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        return cls(path, file, list(itertools.accumulate(sizes, initial=0)))

    def rows(self, start: int, count: int) -> pa.Table:
        """Return ``count`` rows starting at ``start``, or fewer if the part ends before."""
        first = max(bisect.bisect_right(self.starts, start) - 1, 0)
        groups = range(first, min(bisect.bisect_left(self.starts, start + count), self.file.num_row_groups))
        return self.file.read_row_groups(list(groups)).slice(start - self.starts[first], count)


class Store(Folder):
    """A run's folder as a store of committed units."""

    _open: "_OpenPart | None" = None  # the part that `read_rows` read last

    def committed(self, table: Table) -> dict[Unit, str]:
        """Return the key of each committed unit of ``table``: one with a marker and, if it has rows, a part.

        A unit that is committed under a new key meanwhile is found under either key.
        """
        markers: dict[Unit, list[str]] = {}
        for marker in self.files(f"commits/{table.name}"):
            if named := Unit.of_path(marker.removeprefix("commits/")):
                markers.setdefault(named[0], []).append(named[1])
        parts = set(self.files(table.name)) if table.schema is not None else set()
        units = {named[0] for part in parts if (named := Unit.of_path(part))} | markers.keys()
        keys_by_unit: dict[Unit, str] = {}
        for unit in sorted(units):
            keys = markers.get(unit, ())
            if len(keys) == 1 and (table.schema is None or f"{unit.stem(keys[0])}.parquet" in parts):
                keys_by_unit[unit] = keys[0]
            elif (key := self.current(unit)) is not None:  # the unit is being replaced, or a crash interrupted that
                keys_by_unit[unit] = key
        return keys_by_unit

    def current(self, unit: Unit) -> str | None:
        """Return the key under which a unit is committed; None if it is not committed."""
        before: object = None
        while True:
            orders = self._orders(unit)
            key = max(orders, key=lambda key: orders[key], default=None)
            if key is not None and (not _has_rows(unit) or self.exists(f"{unit.stem(key)}.parquet")):
                return key
            if orders == before:  # nothing changed since the last look, so this is the answer
                return None
            before = orders

    def _order(self, unit: Unit, key: str) -> dict[str, int]:
        """Return {key: order} for the marker of one key; empty if there is none. The order of a damaged one is -1."""
        try:
            return {key: self.read_json(f"commits/{unit.stem(key)}.json").get("order", 0)}
        except FileNotFoundError:
            return {}
        except (StoreError, AttributeError):
            return {key: -1}

    def _orders(self, unit: Unit) -> dict[str, int]:
        """Return key -> order for all markers of a unit. The order of a damaged marker is -1.

        There are several while the unit is being replaced, or if a crash interrupted that.
        """
        orders: dict[str, int] = {}
        start = f"commits/{unit.stem('')}"
        for file in self.files(f"commits/{unit.folder}"):
            if file.startswith(start):
                key = file.removeprefix(start).removesuffix(".json")
                orders |= self._order(unit, key)  # empty if the marker was removed after the listing
        return orders

    def commit(
        self,
        unit: Unit,
        key: str,
        rows: pa.Table | None,
        info: Mapping[str, Any] | None = None,
        *,
        replaces: bool = True,
        group: int | None = None,
    ) -> None:
        """Write the part, then its marker, then delete what the unit holds under other keys.

        Does nothing if the unit is already committed under ``key``.

        Args:
            unit: The unit.
            key: The key under which to commit it.
            rows: Its rows; None for units whose product is not a table (a checkpoint folder, the report).
            info: Further content of the marker.
            replaces: Whether the unit may be committed under another key. False saves the listing that finds out.
            group: Rows per row group, the least that ``read_rows`` reads at once; None: Parquet's default.

        Raises:
            LockLost: The run lost its folder. The unit is then not committed.
        """
        orders = self._orders(unit) if replaces else self._order(unit, key)
        part = f"{unit.stem(key)}.parquet"
        if orders.keys() == {key} and orders[key] >= 0 and (not _has_rows(unit) or self.exists(part)):
            return
        count = 0
        if rows is not None:
            schema = TABLES[unit.table].columns
            sink = pa.BufferOutputStream()
            table = rows.select(schema.names).cast(schema)
            pq.write_table(table, sink, compression="zstd", row_group_size=group)
            self.write_bytes(part, sink.getvalue().to_pybytes())
            count = rows.num_rows
        order = {"order": 1 + max(orders.values())} if orders else {}
        self.write_json(f"commits/{unit.stem(key)}.json", {"rows": count, **(info or {}), **order})
        for other in orders.keys() - {key}:
            self.delete(f"commits/{unit.stem(other)}.json")
        if rows is not None and replaces:
            self._remove_parts(unit, but=key)

    def retract(self, unit: Unit) -> None:
        """Remove a unit: first its markers, then its parts."""
        self._check_fence()
        for key in self._orders(unit):
            self.delete(f"commits/{unit.stem(key)}.json")
        if _has_rows(unit):
            self._remove_parts(unit)

    def _remove_parts(self, unit: Unit, but: str | None = None) -> None:
        for file in self.files(unit.folder):
            if file.startswith(unit.stem("")) and file != f"{unit.stem(but or '')}.parquet":
                self.delete(file)

    def tidy(self) -> None:
        """Remove what crashes left: temporary files, parts without a marker, and what a newer marker replaces.

        Only the holder of the folder may call this, because it removes parts whose markers are not written yet.
        """
        self._check_fence()
        self.remove_abandoned()
        for table in (table for table in TABLES.values() if table.schema is not None):
            committed = self.committed(table)
            for file in (*self.files(f"commits/{table.name}"), *self.files(table.name)):
                named = Unit.of_path(file.removeprefix("commits/"))
                if named and committed.get(named[0]) != named[1]:
                    self.delete(file)

    def info(self, unit: Unit, key: str) -> dict[str, Any]:
        """Return the content of a unit's marker: ``rows`` and the fields that the stage added.

        Raises:
            Superseded: The unit is now committed under another key.
            StoreError: The marker is missing or damaged. The message names it.
        """
        content = self._look(unit, key, f"commits/{unit.stem(key)}.json", self.read_json)
        content.pop("order", None)
        return content

    def marker(self, unit: Unit, key: str, kind: type[M]) -> M:
        """Return a unit's marker as an instance of ``kind``. Raises as `info`, and StoreError if it does not fit."""
        try:
            return kind.model_validate(self.info(unit, key))
        except ValidationError as error:
            path = self.path(f"commits/{unit.stem(key)}.json")
            raise StoreError(f"{path} is not a marker of {unit.table}: {error.errors()[0]['msg']}") from None

    def read(self, unit: Unit, key: str) -> pa.Table:
        """Return the unit's rows, without the key columns.

        Raises:
            Superseded: The unit is now committed under another key.
            StoreError: The file is missing, damaged or has another schema. The message names it.
        """
        return self._look(unit, key, f"{unit.stem(key)}.parquet", lambda path: self._rows(path, unit.table))

    def read_rows(self, unit: Unit, key: str, start: int, count: int) -> pa.Table:
        """Return ``count`` rows of a unit, starting at ``start``, without reading its whole file. Raises as `read`.

        The file stays open until another one is read in this way, so that its footer is read only once.
        """

        def read(path: str) -> pa.Table:
            if self._open is None or self._open.path != path:
                self._open = None
                self._open = _OpenPart.at(path, self.fs.open_input_file(self.path(path)))
            return self._open.rows(start, count).cast(TABLES[unit.table].columns)

        return self._look(unit, key, f"{unit.stem(key)}.parquet", read)

    def _rows(self, path: str, table: str) -> pa.Table:
        with self.fs.open_input_file(self.path(path)) as file:
            return pq.ParquetFile(file).read().cast(TABLES[table].columns)

    def _look(self, unit: Unit, key: str, path: str, read: Callable[[str], T]) -> T:
        """Return the result of ``read`` for a unit's file, which another run may be replacing."""
        while True:
            try:
                return read(path)
            except (pa.ArrowException, OSError, ValueError, StoreError) as error:
                now = self.current(unit)
                if now == key and isinstance(error, FileNotFoundError):  # replaced, and restored since
                    continue
                if now not in (None, key):
                    raise Superseded(
                        f"{self.path(path)} was replaced while it was read: read the unit under its new key {now}"
                    ) from None
                if isinstance(error, StoreError):
                    raise
                raise StoreError(
                    f"{self.path(path)} cannot be read ({error}): delete it and run again, which makes the unit again"
                ) from None

    def read_each(self, units: Iterable[tuple[Unit, str]], make: Callable[[pa.Table], T]) -> dict[Unit, T]:
        """Return unit -> ``make(rows)``, in order. Raises as `read`.

        Several units are read at the same time, because an object store answers each request after a while. Only the
        results are kept.
        """
        with ThreadPoolExecutor(TRANSFERS) as pool:
            return dict(pool.map(lambda named: (named[0], make(self.read(*named))), units))

    def read_all(self, units: Iterable[tuple[Unit, str]], table: Table) -> pa.Table:
        """Return the rows of several units of ``table``, in order."""
        parts = self.read_each(units, lambda rows: rows)
        return pa.concat_tables(parts.values()) if parts else table.columns.empty_table()


def _has_rows(unit: Unit) -> bool:
    return TABLES[unit.table].schema is not None
