"""Committed tables by the keys of their units, read lazily."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from detox_ray.storage.store import Store
from detox_ray.storage.units import TABLES, Unit


class UnitTables(Mapping[Any, pa.Table]):
    """A mapping from the values of a table's keys, in the table's order, to the rows of all shards.

    Rows are read at each access, because only one language at a time fits in memory. If the table has a single key
    (prompts), the mapping's key is its value and not a tuple.
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
