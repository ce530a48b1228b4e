"""One interface to a folder on this machine or in a bucket: files that are written whole, JSON, and model folders."""

import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow.fs as pafs

from detox_ray.config import InputError, storage_uri
from detox_ray.storage import writable
from detox_ray.storage.node_cache import cache_folder, fetched

__all__ = ["KEY_LENGTH", "Fence", "Folder", "StoreError", "cache_folder", "key_of"]

KEY_LENGTH = 16
TRANSFERS = 8  # files that are read or written at the same time
UNFINISHED = ".writing-"  # prefix of the temporary files from which local files are renamed
ABANDONED_S = 24 * 3600  # age from which a temporary file belongs to a process that crashed


class StoreError(RuntimeError):
    """A file in the run's folder that cannot be read. The message names the file."""


def key_of(**fields: Any) -> str:
    """Return a key: the hash of the fields' canonical JSON, as ``KEY_LENGTH`` hexadecimal digits."""
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:KEY_LENGTH]


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value that keys are hashes of."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


class Fence(Protocol):
    """A guard that stops a run from writing after it has lost its folder (lock.py)."""

    def check(self) -> None:
        """Raise if another run holds the folder now."""


class Folder:
    """A folder on this machine or in a bucket. Cheap to pickle: workers reopen the filesystem from the URI."""

    def __init__(self, uri: str, fence: Fence | None = None):
        self.location = storage_uri.locate(uri)
        self.uri = self.location.uri
        self.fence = fence  # checked before every write

    def __reduce__(self) -> tuple[type[Self], tuple[str, Fence | None]]:
        return (type(self), (self.uri, self.fence))

    @classmethod
    def at(cls, folder: str) -> Self:
        """Return the folder that a user names by a path or a URI. Raises InputError if the name is not valid."""
        try:
            return cls(folder)
        except ValueError as error:
            raise InputError(f"{folder.partition('?')[0]!r}: {error}") from None

    @property
    def beside(self) -> Self:
        """Return the storage that contains this folder. It belongs to no run, so it has no fence."""
        return type(self)(self.location.parent.uri)

    @cached_property
    def fs(self) -> pafs.FileSystem:
        return writable.filesystem(self.location)

    @property
    def is_local(self) -> bool:
        return not self.location.scheme

    def path(self, relative: str = "") -> str:
        """Return the path of ``relative`` on ``fs``."""
        root = self.location.in_bucket if self.location.scheme else self.location.path
        return f"{root}/{relative}" if relative else root

    def _check_fence(self) -> None:
        if self.fence is not None:
            self.fence.check()

    # Files

    def exists(self, relative: str) -> bool:
        return self.fs.get_file_info(self.path(relative)).type != pafs.FileType.NotFound

    def read_bytes(self, relative: str) -> bytes:
        with self.fs.open_input_stream(self.path(relative)) as stream:
            return stream.read()

    def write_bytes(self, relative: str, content: bytes) -> None:
        """Write a file atomically: readers see either the old content or the new one.

        Object stores do this by themselves: a file appears once it is closed.
        """
        self._check_fence()
        target = self.path(relative)
        if not self.is_local:
            with self.fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        descriptor, temporary = _beside(target)
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
            raise StoreError(f"{self.path(relative)} is damaged ({error}): remove it and run again") from None

    def write_json(self, relative: str, value: Any, indent: int | None = 1) -> None:
        """Write JSON; without ``indent`` on one line, which takes a fraction of the time and of the space."""
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
        self.write_bytes(relative, text.encode())

    def files(self, relative: str) -> list[str]:
        """Return the sorted paths of all files below ``relative``; none if it does not exist.

        Paths are relative to this folder. Hidden files are left out, because a killed writer may leave temporary ones.
        """
        return sorted(self.files_info(relative))

    def files_info(self, relative: str) -> dict[str, pafs.FileInfo]:
        """Return the files that `files` lists, with their sizes and their times of change by the storage's clock."""
        selector = pafs.FileSelector(self.path(relative), recursive=True, allow_not_found=True)
        skip = len(self.path()) + 1
        try:
            infos = self.fs.get_file_info(selector)
        except FileNotFoundError:  # another process created or deleted a folder during the listing
            return self.files_info(relative)
        files = (info for info in infos if info.type == pafs.FileType.File and not info.base_name.startswith("."))
        return {info.path[skip:]: info for info in files}

    def delete(self, relative: str) -> None:
        """Delete a file. Do nothing if it does not exist."""
        try:
            self.fs.delete_file(self.path(relative))
        except FileNotFoundError:
            return

    def remove_abandoned(self) -> None:
        """Remove the temporary files of processes that crashed while they wrote a local file."""
        if not self.is_local:
            return
        for folder, _, names in os.walk(self.path()):
            for file in (Path(folder, name) for name in names if name.startswith(UNFINISHED)):
                with suppress(FileNotFoundError):  # its writer has just renamed it
                    if time.time() - file.stat().st_mtime > ABANDONED_S:
                        file.unlink()

    def check_writable(self) -> str | None:
        """Write a file and remove it. Return None if that works, else why the folder cannot be written."""
        return writable.why_not(self.location)

    # Folders, for models

    def upload(self, source: Path, relative: str) -> None:
        """Replace the folder ``relative`` by a copy of ``source``.

        Copying is not atomic: retract the unit first, so that nobody reads a part of the copy.
        """
        self._check_fence()
        if self.exists(relative):
            self.fs.delete_dir(self.path(relative))

        def copy(file: Path) -> None:
            target = self.path(f"{relative}/{file.relative_to(source).as_posix()}")
            self.fs.create_dir(os.path.dirname(target), recursive=True)
            pafs.copy_files(str(file), target, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=self.fs)

        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(copy, sorted(path for path in source.rglob("*") if path.is_file())))

    def localize(self, relative: str) -> Path:
        """Return a local folder with the files of ``relative``.

        For a local store it is the folder itself, else a copy in this machine's cache (node_cache.py). The copy is
        named by the files' paths, sizes and times, so a folder that changes is fetched again.
        """
        if self.is_local:
            return Path(self.path(relative))
        root = self.path(relative)
        infos = self.fs.get_file_info(pafs.FileSelector(root, recursive=True))
        files = sorted((i.path, i.size, i.mtime_ns) for i in infos if i.type == pafs.FileType.File)

        def fetch(folder: Path) -> None:
            local = pafs.LocalFileSystem()
            pafs.copy_files(root, str(folder), source_filesystem=self.fs, destination_filesystem=local)

        return fetched(key_of(uri=self.uri, files=files), sum(size for _, size, _ in files), fetch)


def _beside(target: str) -> tuple[int, str]:
    """Open a temporary file in the folder of ``target``, and create that folder if necessary."""
    folder = os.path.dirname(target)
    for _ in range(100):
        os.makedirs(folder, exist_ok=True)
        try:
            return tempfile.mkstemp(dir=folder, prefix=UNFINISHED)
        except FileNotFoundError:  # another process's check_writable removed the folder while it was empty
            continue
    raise FileNotFoundError(2, "cannot be created", folder)
