"""Committed tables by the keys of their units, read when asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from detox_ray.storage.store import Store
from detox_ray.storage.units import TABLES, Unit


class UnitTables(Mapping[Any, pa.Table]):
    """Values of a table's keys, in its order -> the rows of all shards: one language at a time fits in memory.

    A table with one key (prompts) is looked up by its value, not by a tuple of one.
    """

    def __init__(self, store: Store, units: Mapping[Unit, str]):
        self._store = store
        self._units: dict[Any, list[tuple[Unit, str]]] = {}
        for unit, key in sorted(units.items()):
            values = tuple(value for _, value in unit.keys)
            self._units.setdefault(values[0] if len(values) == 1 else values, []).append((unit, key))

    def __getitem__(self, values: Any) -> pa.Table:
        units = self._units[values]
        return self._store.read_all(units, TABLES[units[0][0].table])

    def __contains__(self, values: object) -> bool:
        return values in self._units

    def __iter__(self) -> Iterator[Any]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)
