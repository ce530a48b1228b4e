"""The files of a checkpoint on their way to the storage and back, with a size and a checksum for each.

Each node uploads the files that its workers wrote and then their seal, a small JSON file with sizes and checksums. The
seal is written last, so a node's part with a seal has arrived completely. Files that differ from their seal are
damaged, for example by a full disk or a bad block.

On the way back, a node reads the files that its own workers load, and computes their checksums in the same pass.
DeepSpeed names a worker's part of the weights and of the optimizer by its rank. So the nodes together read a ZeRO-3
checkpoint once, apart from a few small files that all of them need.
"""

import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from detox_ray.storage import Store

_SEAL = "sealed-by-"
_BLOCK = 1 << 22  # bytes read at once
_THREADS = 8  # threads that read, write and compute checksums, all of which release Python's lock
# transformers' and DeepSpeed's names of files that only one rank loads, such as
# global_step25/bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt
_OF_RANK = re.compile(r"(?:^|/)(?:rng_state_|(?:bf16_)?zero_pp_rank_|offloaded_tensors/rank)(\d+)(?=[._/])")

Sums = Mapping[str, tuple[int, int]]  # relative path -> bytes, CRC-32


class Seal(NamedTuple):
    """A node's statement of the files that it has uploaded."""

    step: int
    ranks: int  # number of workers that wrote these files
    world: int  # number of all workers
    files: Sums


class _UnreadableError(Exception):
    """A stored file that cannot be read. The message follows the file's name."""


def upload(source: Path, store: Store, folder: str, step: int, rank: int, ranks: int, world: int) -> None:
    """Upload one node's part of a checkpoint, and seal it.

    Args:
        source: The local folder with the files.
        store: The storage.
        folder: The checkpoint's folder in the storage.
        step: The checkpoint's step.
        rank: The rank of the worker that uploads; its seal is named by it.
        ranks: The number of workers whose files are in ``source``.
        world: The number of all workers.
    """

    def copy(file: Path) -> tuple[str, tuple[int, int]]:
        name = file.relative_to(source).as_posix()
        target = store.path(f"{folder}/{name}")
        store.fs.create_dir(target.rpartition("/")[0], recursive=True)
        size = checksum = 0
        with file.open("rb") as stream, store.fs.open_output_stream(target) as output:
            while block := stream.read(_BLOCK):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
                output.write(block)
        return name, (size, checksum)

    with ThreadPoolExecutor(_THREADS) as pool:
        sums = dict(pool.map(copy, sorted(path for path in source.rglob("*") if path.is_file())))
    store.write_json(f"{folder}/{_SEAL}{rank}.json", Seal(step, ranks, world, sums)._asdict())


def seals(store: Store, files: Collection[str]) -> list[Seal]:
    """Return the seals among a checkpoint's files; none if one of them is damaged."""
    try:
        return [Seal(**json.loads(store.read_bytes(file))) for file in files if f"/{_SEAL}" in file]
    except (ValueError, TypeError):
        return []


def of_ranks(files: Sums, ranks: Collection[int]) -> Sums:
    """Return the files that the workers of these ranks load."""
    ranks_by_file = {file: match and int(match[1]) for file in files for match in [_OF_RANK.search(file)]}
    return {file: files[file] for file, rank in ranks_by_file.items() if rank is None or rank in ranks}


def fetch(store: Store, folder: str, files: Sums, target: Path | None) -> str | None:
    """Compare a checkpoint's files with their sums and copy them, in one pass.

    Args:
        store: The storage.
        folder: The checkpoint's folder in the storage.
        files: The files.
        target: The local folder for the copies; None to compare only.

    Returns:
        The first file that differs, and how; None if none differs.

    Raises:
        OSError: If a copy cannot be written.
    """

    def difference(file: str) -> str | None:
        if target is not None:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
        size = checksum = 0
        with nullcontext() if target is None else (target / file).open("wb") as copy:
            try:
                for block in _blocks(store, f"{folder}/{file}"):
                    size, checksum = size + len(block), zlib.crc32(block, checksum)
                    if copy is not None:
                        copy.write(block)
            except _UnreadableError as error:
                return f"{file} {error}"
        expected = tuple(files[file])
        return (
            None if (size, checksum) == expected else f"{file} is not as it was written ({size} bytes of {expected[0]})"
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        first = next(filter(None, pool.map(difference, files)), None)
        pool.shutdown(cancel_futures=True)
    return first


def _blocks(store: Store, file: str) -> Iterator[bytes]:
    """Yield the content of a stored file. Raises _UnreadableError if that fails."""
    try:
        with store.fs.open_input_stream(store.path(file)) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except FileNotFoundError:
        raise _UnreadableError("is missing") from None
    except (OSError, pa.ArrowException) as error:
        raise _UnreadableError(f"cannot be read ({error})") from error
