"""Models in object stores, named by a URI: their small files, and their copies on this machine."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from detox_ray.config import InputError
from detox_ray.config.storage_uri import SCHEMES, locate
from detox_ray.storage.folder import Folder, key_of
from detox_ray.storage.node_cache import fetched

SMALL_BYTES = 64 << 20  # larger files, such as weights, are not fetched to inspect a model


def is_uri(path: str) -> bool:
    """Return whether a model's path names an object store."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return scheme is not None and scheme[1].lower() in SCHEMES


def local_copy(uri: str) -> Path:
    """Return the model's folder on this machine. It is fetched once, however many processes need it."""
    return Folder(uri).localize("")


def local_folder(path: str) -> Path:
    """Return a folder in which a model's files can be inspected: the model's own, or an outline of one in a bucket.

    The outline has every file, with its name and size. Large ones, with weights, are sparse files of zeros that take no
    space. Raises InputError if the store does not answer or has no such folder.
    """
    if not is_uri(path):
        return Path(path).expanduser()
    folder, files = _listed(path)
    root = folder.path()

    def fetch(target: Path) -> None:
        for name, size, _ in files:
            local = target / name
            local.parent.mkdir(parents=True, exist_ok=True)
            if size > SMALL_BYTES or name.endswith(".safetensors"):
                with local.open("wb") as stream:
                    stream.truncate(size)
            else:
                local.write_bytes(folder.read_bytes(name))

    return fetched(key_of(outline=root, files=files), 0, fetch)


def content_key(uri: str) -> str:
    """Return a key that changes with the names, sizes and times of the model's files. Weights are not read."""
    location = locate(uri)
    return key_of(bucket=f"{location.scheme}://{location.bucket}/{location.path}", files=_listed(uri)[1])


def _listed(uri: str) -> tuple[Folder, list[tuple[str, int, int]]]:
    """Return the folder, and the name, size and time of each of its files."""
    folder = Folder.at(uri)
    shown = uri.partition("?")[0]
    try:
        root = folder.path()
        infos = folder.fs.get_file_info(pafs.FileSelector(root, recursive=True))
    except FileNotFoundError:
        raise InputError(f"{shown}: there is no such folder") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{shown} cannot be read: {' '.join(str(error).split())[:300]}") from None
    files = [info for info in infos if info.type == pafs.FileType.File]
    return folder, sorted((info.path[len(root) + 1 :], info.size, info.mtime_ns) for info in files)
