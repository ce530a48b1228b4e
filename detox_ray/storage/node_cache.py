"""This machine's copies of folders from object stores: each fetched once, whichever process needs it first.

    CACHE/fetched/<key>        a whole copy; the key is the hash of the files' paths, sizes and times
    CACHE/fetched/<key>.lock   locked for the time of a fetch, and shared by every process that uses the copy
    CACHE/fetched/.fetching-<key>   a copy that is not whole yet

The lock belongs to the operating system, which frees it if a process is killed; what a killed fetch left is removed by
the next one. Copies that no process uses are removed, the longest unused first, if all together would exceed the limit:
$DETOX_RAY_CACHE_GB, or half of the disk.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

LIMIT_GB = "DETOX_RAY_CACHE_GB"
LOCK, FETCHING = ".lock", ".fetching-"

_used: dict[Path, int] = {}  # copy -> descriptor of its lock, shared for as long as this process lives


def cache_folder() -> Path:
    """Return the folder of what this machine can make again: $DETOX_RAY_CACHE, else ~/.cache/detox_ray."""
    return Path(os.environ.get("DETOX_RAY_CACHE") or Path.home() / ".cache" / "detox_ray")


def fetched(key: str, size: int, fetch: Callable[[Path], None]) -> Path:
    """Return this machine's copy of a folder.

    Args:
        key: What tells the folder's content from others'.
        size: Its bytes.
        fetch: Writes the content into a new folder.
    """
    folder = cache_folder() / "fetched"
    copy, unfinished = folder / key, folder / f"{FETCHING}{key}"
    if copy in _used and copy.exists():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / f"{key}{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        while not copy.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not copy.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                _make_room(folder, size)
                unfinished.mkdir()
                fetch(unfinished)
                unfinished.rename(copy)
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(copy)
    except BaseException:
        os.close(lock)
        raise
    _used[copy] = lock
    return copy


def _make_room(folder: Path, size: int) -> None:
    """Remove what killed fetches left, and unused copies until ``size`` more bytes are within the limit."""
    for rest in folder.glob(f"{FETCHING}*"):
        _remove_unused(folder, rest.name.removeprefix(FETCHING), rest)
    stated = os.environ.get(LIMIT_GB)
    limit = float(stated) * 1e9 if stated else shutil.disk_usage(folder).total / 2
    copies = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = {copy: sum(file.stat().st_size for file in copy.rglob("*") if file.is_file()) for copy in copies}
    total = sum(sizes.values())
    for copy in copies:
        if total + size <= limit:
            return
        if _remove_unused(folder, copy.name, copy):
            total -= sizes[copy]


def _remove_unused(folder: Path, key: str, path: Path) -> bool:
    """Remove a folder if no process fetches or uses it. Return whether it was removed."""
    lock = os.open(folder / f"{key}{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        shutil.rmtree(path, ignore_errors=True)
        return True
    finally:
        os.close(lock)
