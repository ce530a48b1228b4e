"""This machine's copies of folders from object stores. Each is fetched once, by the first process that needs it.

    CACHE/fetched/<key>             a complete copy; the key is the hash of the files' paths, sizes and times
    CACHE/fetched/<key>.lock        shared by every process that uses or wants the copy; exclusive while it is removed
    CACHE/fetched/<key>.fetch       locked during a fetch, and by nobody for longer: users of a copy keep the other lock
    CACHE/fetched/.fetching-<key>   an incomplete copy

The operating system holds the locks and frees them if a process is killed. The next fetch removes what a killed one
left.
If all copies together would exceed the limit ($DETOX_RAY_CACHE_GB, by default half of the disk), those that no process
uses are removed, the least recently used first.
"""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detox_ray.config import InputError

LIMIT_GB = "DETOX_RAY_CACHE_GB"
LOCK, FETCH, FETCHING = ".lock", ".fetch", ".fetching-"

_used: dict[Path, int] = {}  # copy -> descriptor of its lock, shared for as long as this process lives


def cache_folder() -> Path:
    """Return this machine's cache folder: $DETOX_RAY_CACHE, or ~/.cache/detox_ray."""
    return Path(os.environ.get("DETOX_RAY_CACHE") or Path.home() / ".cache" / "detox_ray")


def fetched(key: str, size: int, fetch: Callable[[Path], None]) -> Path:
    """Return this machine's copy of a folder.

    Args:
        key: Identifies the folder's content.
        size: Size of the content in bytes.
        fetch: Writes the content into a new folder.

    Raises:
        InputError: $DETOX_RAY_CACHE_GB is not a number.
        OSError: The content cannot be fetched. If the disk is full, the message names $DETOX_RAY_CACHE.
    """
    folder = cache_folder() / "fetched"
    copy, unfinished = folder / key, folder / f"{FETCHING}{key}"
    if copy in _used and copy.exists():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    lock = _opened(folder / f"{key}{LOCK}")
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not copy.exists():
            with _held(folder / f"{key}{FETCH}"):
                if not copy.exists():
                    shutil.rmtree(unfinished, ignore_errors=True)
                    _make_room(folder, size)
                    _write(unfinished, size, fetch)
                    unfinished.rename(copy)
        os.utime(copy)
    except BaseException:
        os.close(lock)
        raise
    _used[copy] = lock
    return copy


def _opened(path: Path) -> int:
    """Return the descriptor of a lock's file."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock exclusively, and wait for it if another process holds it."""
    lock = _opened(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(unfinished: Path, size: int, fetch: Callable[[Path], None]) -> None:
    """Fetch into a new folder. If the disk is full, remove the folder and raise an OSError that says what to do."""
    try:
        if shutil.disk_usage(unfinished.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        unfinished.mkdir()
        fetch(unfinished)
    except OSError as error:
        if error.errno != errno.ENOSPC and os.strerror(errno.ENOSPC) not in str(error):
            raise
        shutil.rmtree(unfinished, ignore_errors=True)
        free = shutil.disk_usage(unfinished.parent).free
        raise OSError(
            errno.ENOSPC,
            f"the disk of {unfinished.parent} on {socket.gethostname()} has no room for a model of {size / 1e9:.1f} GB "
            f"({free / 1e9:.1f} GB are free): set DETOX_RAY_CACHE to a folder on a larger disk, on every node",
        ) from error


def _make_room(folder: Path, size: int) -> None:
    """Remove what killed fetches left, then unused copies until ``size`` more bytes stay within the limit."""
    for rest in folder.glob(f"{FETCHING}*"):
        _remove_unused(folder, rest.name.removeprefix(FETCHING), rest)
    limit = _limit(folder)
    # Incomplete copies that are still there are being fetched by other processes.
    copies = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(FETCHING)]
    sizes = {copy: _bytes_of(copy) for copy in sorted(copies, key=_last_used)}
    total = sum(sizes.values())
    for copy in sizes:
        if total + size <= limit:
            return
        if _remove_unused(folder, copy.name, copy):
            total -= sizes[copy]


def _limit(folder: Path) -> float:
    """Return the limit of all copies together, in bytes. Raises InputError if $DETOX_RAY_CACHE_GB is not a number."""
    stated = os.environ.get(LIMIT_GB)
    if not stated:
        return shutil.disk_usage(folder).total / 2
    try:
        return float(stated) * 1e9
    except ValueError:
        raise InputError(f"{LIMIT_GB}={stated!r}: must be a number of gigabytes, such as 500") from None


def _last_used(copy: Path) -> float:
    """Return when a copy was last used, as a time stamp; 0 if another process has removed it."""
    try:
        return copy.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes_of(copy: Path) -> int:
    """Return the bytes that a copy takes on the disk. Sparse files take less than their size.

    Files that another process removes meanwhile are not counted.
    """
    total = 0
    for root, _, names in os.walk(copy):
        for name in names:
            try:
                status = os.stat(os.path.join(root, name))
            except FileNotFoundError:
                continue
            total += min(status.st_size, status.st_blocks * 512)
    return total


def _remove_unused(folder: Path, key: str, path: Path) -> bool:
    """Remove a folder if no process fetches or uses it. Return whether it was removed."""
    lock = _opened(folder / f"{key}{LOCK}")
    unfinished = folder / f"{FETCHING}{key}"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path != unfinished:
            # Rename first: if this process is killed, what is left of the copy must not count as complete.
            shutil.rmtree(unfinished, ignore_errors=True)
            path.rename(unfinished)
    except FileNotFoundError:  # another process has removed it
        return True
    except OSError:
        return False
    else:
        shutil.rmtree(unfinished, ignore_errors=True)
        return True
    finally:
        os.close(lock)
