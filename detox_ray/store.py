"""A run's folder on any filesystem that pyarrow knows: parts, commit markers, keys.

A unit is the smallest piece of work that is committed at once: one Parquet part of one table and partition. It is
written whole and then marked; only marked parts count, so a run killed at any moment goes on from its marks:

    generations/model=detox/language=fr/00000-<key>.parquet        the part
    commits/generations/model=detox/language=fr/00000-<key>.json   its marker: rows, and what the stage says of it

The key hashes everything that changes the unit's result. Committing a unit under a new key removes what stood there
under an old one, so that whoever reads the Parquet folders finds each row once.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from detox_ray.tables import TABLES

KEY_LENGTH = 16


class StoreError(RuntimeError):
    """The run's folder holds something that cannot be read; names the file."""


def key_of(**fields: Any) -> str:
    """The one hash for keys: of the fields' canonical JSON."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def cache_folder() -> Path:
    """Where this machine keeps what can be made again: $DETOX_RAY_CACHE, else ~/.cache/detox_ray."""
    return Path(os.environ.get("DETOX_RAY_CACHE") or Path.home() / ".cache" / "detox_ray")


class Unit(NamedTuple):
    """(stage's table, partition, shard). Values are in the order of the table's partition keys."""

    table: str
    partition: tuple[str, ...] = ()
    shard: int = 0

    @property
    def folder(self) -> str:
        keys = TABLES[self.table][1] if self.table in TABLES else ("name",)
        assert len(keys) == len(self.partition), f"{self.table} is partitioned by {keys}, not {self.partition}"
        return "/".join([self.table, *(f"{k}={v}" for k, v in zip(keys, self.partition, strict=True))])

    def stem(self, key: str) -> str:
        return f"{self.folder}/{self.shard:05d}-{key}"


class Store:
    """A run's folder. Cheap to pickle: workers reopen the filesystem from the URI."""

    def __init__(self, uri: str):
        self.uri = uri

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return (Store, (self.uri,))

    @classmethod
    def at(cls, folder: str) -> "Store":
        """The store at a folder or URI as a person writes it."""
        return cls(folder if "://" in folder else str(Path(folder).expanduser().resolve()))

    @cached_property
    def _opened(self) -> tuple[pafs.FileSystem, str]:
        if "://" not in self.uri:
            return pafs.LocalFileSystem(), self.uri
        filesystem, path = pafs.FileSystem.from_uri(self.uri)
        return filesystem, path

    @property
    def fs(self) -> pafs.FileSystem:
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, pafs.LocalFileSystem)

    def path(self, relative: str = "") -> str:
        """The path of ``relative`` on ``fs``."""
        return f"{self._opened[1]}/{relative}" if relative else self._opened[1]

    # Files

    def exists(self, relative: str) -> bool:
        return self.fs.get_file_info(self.path(relative)).type != pafs.FileType.NotFound

    def read_bytes(self, relative: str) -> bytes:
        with self.fs.open_input_stream(self.path(relative)) as stream:
            return stream.read()

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write whole: readers see the old file or the new one. (Object stores show a file only when it is closed.)"""
        target = self.path(relative)
        if not self.is_local:
            with self.fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".writing-")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

    def read_json(self, relative: str) -> Any:
        try:
            return json.loads(self.read_bytes(relative))
        except ValueError as error:
            raise StoreError(f"{self.path(relative)} is damaged ({error}); remove it and run again") from None

    def write_json(self, relative: str, value: Any) -> None:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
        self.write_bytes(relative, text.encode())

    def files(self, relative: str) -> list[str]:
        """Paths of all files below ``relative``, relative to the run's folder, sorted; none where it does not exist.

        Hidden files are left out: a killed writer may leave a temporary one.
        """
        selector = pafs.FileSelector(self.path(relative), recursive=True, allow_not_found=True)
        skip = len(self.path()) + 1
        try:
            infos = self.fs.get_file_info(selector)
        except FileNotFoundError:  # another process made or deleted a folder while this one looked
            return self.files(relative)
        files = (info for info in infos if info.type == pafs.FileType.File and not info.base_name.startswith("."))
        return sorted(info.path[skip:] for info in files)

    def delete(self, relative: str) -> None:
        """Delete a file; a missing one is no error."""
        try:
            self.fs.delete_file(self.path(relative))
        except FileNotFoundError:
            return

    # Folders, for models

    def upload(self, source: Path, relative: str) -> None:
        """Replace the folder ``relative`` by a copy of ``source``."""
        if self.exists(relative):
            self.fs.delete_dir(self.path(relative))
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            target = self.path(f"{relative}/{file.relative_to(source).as_posix()}")
            self.fs.create_dir(os.path.dirname(target), recursive=True)
            pafs.copy_files(str(file), target, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self.fs)

    def localize(self, relative: str) -> Path:
        """A local folder with what is in ``relative``: itself where the store is local, else a copy in this machine's
        cache, named by the files' paths, sizes and times, so that a changed folder is fetched again."""
        if self.is_local:
            return Path(self.path(relative))
        root = self.path(relative)
        infos = self.fs.get_file_info(pafs.FileSelector(root, recursive=True))
        files = sorted((i.path, i.size, i.mtime_ns) for i in infos if i.type == pafs.FileType.File)
        target = cache_folder() / "fetched" / key_of(uri=self.uri, files=files)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetching-"))
            for path, _, _ in files:
                local = temporary / path[len(root) + 1 :]
                local.parent.mkdir(parents=True, exist_ok=True)
                pafs.copy_files(
                    path, str(local), source_filesystem=self.fs, destination_filesystem=pafs.LocalFileSystem()
                )
            try:
                temporary.rename(target)
            except OSError:  # another process was first, with the same content
                shutil.rmtree(temporary)
        return target

    # Units

    def committed(self, table: str) -> dict[Unit, str]:
        """Unit -> key of all that is committed of ``table``: marked, and the part is there."""
        parts = set(self.files(table))
        found: dict[Unit, str] = {}
        for marker in self.files(f"commits/{table}"):
            unit, key = _unit_of(marker.removeprefix("commits/"))
            if table not in TABLES or f"{unit.stem(key)}.parquet" in parts:
                found[unit] = key
        return found

    def commit(self, unit: Unit, key: str, rows: pa.Table | None, info: Mapping[str, Any] | None = None) -> None:
        """Write the part whole, then its marker; what the unit held under another key goes.

        ``rows`` is None for units whose product is not a table (a checkpoint folder, the report).
        """
        self.retract(unit)
        count = 0
        if rows is not None:
            schema, _ = TABLES[unit.table]
            sink = pa.BufferOutputStream()
            pq.write_table(rows.select(schema.names).cast(schema), sink, compression="zstd")
            self.write_bytes(f"{unit.stem(key)}.parquet", sink.getvalue().to_pybytes())
            count = rows.num_rows
        self.write_json(f"commits/{unit.stem(key)}.json", {"rows": count, **(info or {})})

    def retract(self, unit: Unit) -> None:
        """Take a unit back: its marker first, then its part."""
        prefix = f"{unit.folder}/{unit.shard:05d}-"
        for folder in (f"commits/{unit.folder}", unit.folder if unit.table in TABLES else None):
            for file in self.files(folder) if folder else ():
                if file.removeprefix("commits/").startswith(prefix):
                    self.delete(file)

    def info(self, unit: Unit, key: str) -> dict[str, Any]:
        """What the marker says: ``rows`` and whatever the stage added."""
        return self.read_json(f"commits/{unit.stem(key)}.json")

    def read(self, unit: Unit, key: str) -> pa.Table:
        """The unit's rows, without the partition columns.

        Raises StoreError naming the file where it is missing, damaged or of another schema.
        """
        schema, _ = TABLES[unit.table]
        path = f"{unit.stem(key)}.parquet"
        try:
            with self.fs.open_input_file(self.path(path)) as file:
                # partitioning=None: the folder names must not come back as columns
                return pq.ParquetFile(file).read().cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(
                f"{self.path(path)} cannot be read ({error}); delete it and run again: the unit is then redone"
            ) from None

    def read_all(self, units: Iterable[tuple[Unit, str]], table: str) -> pa.Table:
        """The rows of several units of ``table``, in order."""
        parts = [self.read(unit, key) for unit, key in units]
        return pa.concat_tables(parts) if parts else TABLES[table][0].empty_table()

    def check_writable(self) -> str | None:
        """None, or why the folder cannot be written. Leaves nothing behind."""
        if self.is_local:
            nearest = next(folder for folder in (Path(self.path()), *Path(self.path()).parents) if folder.exists())
            if not nearest.is_dir():
                return f"{nearest} is not a folder"
            return None if os.access(nearest, os.W_OK | os.X_OK) else f"no permission to write in {nearest}"
        probe = f".probe-{os.getpid()}"
        try:
            self.write_bytes(probe, b"")
            self.delete(probe)
        except (OSError, pa.ArrowException) as error:
            return str(error)
        return None


def _unit_of(path: str) -> tuple[Unit, str]:
    """Invert ``Unit.stem(key) + suffix``."""
    table, *folders, name = path.split("/")
    shard, _, key = name.rpartition(".")[0].partition("-")
    return Unit(table, tuple(folder.partition("=")[2] for folder in folders), int(shard)), key
