"""Tables, and units of them: the smallest pieces of work that are committed at once."""

import functools
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa


@dataclass(frozen=True, order=True, slots=True)
class Unit:
    """A piece of a table, identified by values of the table's keys and a shard."""

    table: str
    keys: tuple[tuple[str, str], ...] = ()  # (name, value), in the table's order
    shard: int = 0

    def __getitem__(self, name: str) -> str:
        """Return the value of a key. Raises KeyError if the table has no such key."""
        for key, value in self.keys:
            if key == name:
                return value
        raise KeyError(f"{self.table} has the keys {', '.join(key for key, _ in self.keys) or 'none'}, not {name}")

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a key; ``default`` if the table has no such key."""
        return dict(self.keys).get(name, default)

    @property
    def folder(self) -> str:
        """Return the folder of the unit's parts in a run, in Hive's form: ``generations/model=detox/language=fr``."""
        return "/".join([self.table, *(f"{name}={value}" for name, value in self.keys)])

    @property
    def name(self) -> str:
        """Return the unit's name in keys and messages."""
        return f"{self.folder}/{self.shard:05d}"

    def stem(self, key: str) -> str:
        """Return the path, without the ending, of the part that is committed under ``key``."""
        return f"{self.name}-{key}"

    @classmethod
    def of_path(cls, path: str) -> tuple[Self, str] | None:
        """Return the unit and the key of a path of the form ``stem(key) + ending``; None for any other path."""
        table, *folders, name = path.split("/")
        shard, dash, key = name.rpartition(".")[0].partition("-")
        if not (dash and shard.isdecimal() and all("=" in folder for folder in folders)):
            return None
        pairs = (folder.partition("=") for folder in folders)
        return cls(table, tuple((key, value) for key, _, value in pairs), int(shard)), key

    def to_json(self) -> list[Any]:
        """Return ``[table, {key: value}, shard]``, which ``from_json`` reads."""
        return [self.table, dict(self.keys), self.shard]

    @classmethod
    def from_json(cls, parts: list[Any]) -> Self:
        """Read what ``to_json`` returns."""
        table, keys, shard = parts
        return cls(table, tuple(keys.items()), shard)


@dataclass(frozen=True)
class Table:
    """A table: the columns of its rows, and the keys that tell its units apart.

    The keys are Hive partition keys: they are part of the folders' names and not columns of the files.
    """

    name: str
    keys: tuple[str, ...]
    schema: pa.Schema | None  # None: its units are folders of files, such as a checkpoint

    def unit(self, shard: int = 0, **keys: str) -> Unit:
        """Return a unit of the table. All keys must be given."""
        assert keys.keys() == set(self.keys), f"{self.name} has the keys {self.keys}, not {tuple(keys)}"
        return Unit(self.name, tuple((name, keys[name]) for name in self.keys), shard)

    @functools.cached_property
    def columns(self) -> pa.Schema:
        """Return the schema. Only for a table that has rows."""
        assert self.schema is not None, f"{self.name} has no rows"
        return self.schema


TABLES: dict[str, Table] = {}  # name -> table, for all tables that this process has defined


def define(name: str, keys: tuple[str, ...], fields: list[pa.Field] | pa.Schema | None) -> Table:
    """Define a table for every store of this process. A worker must import the module that calls this.

    Args:
        name: Name, which is the table's folder in a run.
        keys: Names of the keys, in the order of the folders.
        fields: Columns of the rows; None if a unit is a folder of files.

    Raises:
        ValueError: Another table has this name.
    """
    schema = None if fields is None else pa.schema(fields)
    table = Table(name, keys, schema)
    known = TABLES.setdefault(name, table)
    if known.keys != keys or (known.schema is None) != (schema is None) or (schema and not schema.equals(known.schema)):
        raise ValueError(f"two tables are named {name}")
    return known
