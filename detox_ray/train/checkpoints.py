"""Checkpoints of a training: it resumes from the latest one whose files are complete and unchanged.

Every node seals its part of a checkpoint before uploading it. A seal is a small JSON file with each file's size and
checksum. A checkpoint without all its seals was not finished. A checkpoint whose files differ from its seals is
damaged, for example by a full disk, a killed upload or a bad block. Ray Train itself returns the latest checkpoint that
it knows, regardless of its state.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from detox_ray.cluster.ray_internals import CHECKPOINT_LIST, CHECKPOINT_PREFIX, parse_checkpoint_list
from detox_ray.storage import Store

_BLOCK = 1 << 22  # bytes read at once
_THREADS = 8  # threads that compute checksums: both arithmetic and reading release Python's lock


class _Seal(NamedTuple):
    step: int
    ranks: int  # number of workers that wrote these files
    world: int  # number of all workers
    files: dict[str, tuple[int, int]]  # relative path -> bytes, CRC-32


class WholeCheckpoint(NamedTuple):
    """A checkpoint whose files are all complete and unchanged."""

    folder: str  # in the store
    step: int
    world: int  # number of workers that wrote it


def seal(folder: Path, step: int, rank: int, ranks: int, world: int) -> None:
    """Write the seal of ``folder``, into which ``ranks`` of all ``world`` workers wrote. ``rank`` is one of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())

    def sum_of(path: Path) -> tuple[int, int]:
        with path.open("rb") as stream:
            return _sum(stream.read)

    with ThreadPoolExecutor(_THREADS) as pool:
        sums = dict(zip((path.relative_to(folder).as_posix() for path in files), pool.map(sum_of, files), strict=True))
    content = json.dumps(_Seal(step, ranks, world, sums)._asdict())
    (folder / f"sealed-by-{rank}.json").write_text(content, encoding="utf-8")


def newest(store: Store, folder: str, warn: Callable[[str], None], step: int | None = None) -> WholeCheckpoint | None:
    """Return the latest whole checkpoint below ``folder`` (of ``step``, if given); None if there is none.

    ``warn`` is called for each later checkpoint that is not whole.
    """
    checkpoints: dict[str, list[str]] = {}
    for file in store.files(folder):
        name = file.removeprefix(f"{folder}/").split("/")[0]
        if name.startswith(CHECKPOINT_PREFIX):
            checkpoints.setdefault(name, []).append(file)
    for name in sorted(checkpoints, reverse=True):
        seals = _seals(store, checkpoints[name])
        if step is not None and (not seals or seals[0].step != step):
            continue
        if not seals or sum(each.ranks for each in seals) != seals[0].world:
            warn(f"{name} was not finished: going back to the one before")
        elif wrong := _first_difference(store, f"{folder}/{name}", seals):
            warn(f"{name} (step {seals[0].step}) is damaged, {wrong}: going back to the one before")
        else:
            return WholeCheckpoint(f"{folder}/{name}", seals[0].step, seals[0].world)
    return None


@contextmanager
def opened(store: Store, checkpoint: WholeCheckpoint | None) -> Iterator[Path | None]:
    """Open a checkpoint as a local folder: the checkpoint itself, or a copy that all workers of this node share."""
    import ray.train

    if checkpoint is None:
        yield None
    else:
        with ray.train.Checkpoint(store.path(checkpoint.folder), store.fs).as_directory() as local:
            yield Path(local)


def remove_unusable_list(store: Store, folder: str) -> str | None:
    """Delete Ray Train's list of checkpoints if Ray Train would refuse to start with it.

    Nothing is lost, because `newest` reads the checkpoints themselves.

    Returns:
        A message about the list that was deleted; None if it was usable.
    """
    file = f"{folder}/{CHECKPOINT_LIST}"
    if not store.exists(file):
        return None
    try:
        listed = parse_checkpoint_list(store.read_bytes(file))
        gone = next((name for name in listed.folders if not store.exists(f"{folder}/{name}")), None)
        problem = f"lists {gone}, which is not there" if gone else _other_ray(listed.ray_version)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
    if problem is None:
        return None
    store.delete(file)
    return f"Ray Train's list of checkpoints {problem}: it is deleted, and the checkpoints themselves are read"


def _other_ray(version: str) -> str | None:
    import ray

    return None if version == ray.__version__ else f"is of Ray {version}, this is {ray.__version__}"


def _seals(store: Store, files: list[str]) -> list[_Seal]:
    """Return the seals among a checkpoint's files; none if one of them is incomplete."""
    try:
        return [_Seal(**json.loads(store.read_bytes(file))) for file in files if "/sealed-by-" in file]
    except (ValueError, TypeError):
        return []


def _first_difference(store: Store, checkpoint: str, seals: list[_Seal]) -> str | None:
    """Return the first file that differs from its seal, and how; None if none differs."""

    def difference(sealed_file: tuple[str, tuple[int, int]]) -> str | None:
        file, (size, checksum) = sealed_file
        try:
            with store.fs.open_input_stream(store.path(f"{checkpoint}/{file}")) as stream:
                actual = _sum(stream.read)
        except FileNotFoundError:
            return f"{file} is missing"
        except (OSError, pa.ArrowException) as error:
            return f"{file} cannot be read ({error})"
        return None if actual == (size, checksum) else f"{file} is not as it was written ({actual[0]} bytes of {size})"

    with ThreadPoolExecutor(_THREADS) as pool:
        return next(filter(None, pool.map(difference, [item for each in seals for item in each.files.items()])), None)


def _sum(read: Callable[[int], bytes]) -> tuple[int, int]:
    """Return the size and CRC-32 of a stream (1 GB per second and core; it detects accidents, not attacks)."""
    size = checksum = 0
    while block := read(_BLOCK):
        size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum


def leftovers(store: Store, name: str, key: str) -> list[str]:
    """Return the folders that trainings of the model ``name`` left under other keys."""
    selector = pafs.FileSelector(store.path("training"), allow_not_found=True)
    folders = (info.base_name for info in store.fs.get_file_info(selector) if info.type == pafs.FileType.Directory)
    return sorted(f"training/{folder}" for folder in folders if _key_in(folder, name) not in (None, key))


def _key_in(folder: str, name: str) -> str | None:
    """Return the key in ``<name>-<key>``; None if the folder belongs to another model."""
    key = folder.removeprefix(f"{name}-")
    return key if key != folder and len(key) == 16 and set(key) <= set("0123456789abcdef") else None
