"""Copy models of the hub once into the storage of the runs, because the hub turns away many nodes that ask at once.

STORAGE/.models/ORGANISATION/MODEL/COMMIT/…     the model's files; `copied`, which lists their sizes, is written last

A bucket may have a rule that deletes old files, so the files that `copied` lists are checked.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs as pafs

from detox_ray.models.resolve import LoadableModel
from detox_ray.storage.folder import Folder

FOLDER = ".models"  # no run can have this name
COMPLETE = "copied"
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
THREADS = 8


def mirrored(model: LoadableModel, storage: Folder, say: Callable[[str], None]) -> LoadableModel:
    """Return the model with its copy in the storage, which is created if necessary.

    Args:
        model: A model. One that does not come from the hub is returned unchanged.
        storage: The storage of the runs, in a bucket.
        say: Called with a line on what is being copied.
    """
    if model.revision is None:
        return model
    copy = Folder(storage.location.child(f"{FOLDER}/{model.location}/{model.revision}").uri)
    if not _is_whole(copy):
        from huggingface_hub import snapshot_download

        say(f"copying {model.location} from the hub to {storage.location.child(FOLDER).uri.partition('?')[0]}")
        source = Path(snapshot_download(model.location, revision=model.revision, allow_patterns=list(PATTERNS)))
        with ThreadPoolExecutor(THREADS) as pool:
            files = [file for file in source.rglob("*") if file.is_file()]
            list(pool.map(lambda file: _copy(file, copy, file.relative_to(source).as_posix()), files))
        copy.write_json(COMPLETE, {file.relative_to(source).as_posix(): file.stat().st_size for file in files})
    return model._replace(mirror=copy.uri)


def _is_whole(copy: Folder) -> bool:
    """Return whether all files that a finished copy lists are there."""
    sizes = {name: info.size for name, info in copy.files_info("").items()}
    return bool(sizes.get(COMPLETE)) and copy.read_json(COMPLETE).items() <= sizes.items()


def _copy(file: Path, folder: Folder, name: str) -> None:
    local = pafs.LocalFileSystem()
    pafs.copy_files(str(file), folder.path(name), source_filesystem=local, destination_filesystem=folder.fs)
