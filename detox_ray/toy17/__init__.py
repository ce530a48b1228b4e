"""toy17, the built-in world: 17 small languages, a tiny model, a tiny classifier. No import of torch until it is built.

A model organism: it shows that detoxification by English preference pairs carries over where languages share a model,
and why. It says nothing about how much it does in any real model.
"""

import shutil
import tempfile
from pathlib import Path

from detox_ray.storage import cache_folder, key_of
from detox_ray.toy17.size import Report, WorldSize
from detox_ray.toy17.vocabulary import content_hash

VERSION = 3  # raise it whenever the code here changes what `build` writes

DEFAULT = WorldSize()

__all__ = ["DEFAULT", "VERSION", "Report", "WorldSize", "build", "ensure", "key"]


def key(seed: int = 0, size: WorldSize = DEFAULT) -> str:
    """Changes whenever the world would."""
    return key_of(version=VERSION, languages=content_hash(), seed=seed, size=size.model_dump())


def build(folder: Path, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None) -> None:
    """Write a world into ``folder``, which must not exist or be empty. See `detox_ray.toy17.world`."""
    from detox_ray.toy17.world import build as write

    write(folder, seed, size, report)


def ensure(
    cache_dir: Path | None = None, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None
) -> Path:
    """The world's folder in the cache, built if it is not there.

    It is built beside its place and then renamed: what is there is whole, and of two processes that build it at once
    the later one takes the earlier one's.
    """
    home = (cache_dir or cache_folder()) / "toy17"
    folder = home / key(seed, size)
    if folder.is_dir():
        return folder
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=home, ignore_cleanup_errors=True) as scratch:
        unfinished = Path(scratch) / "world"
        build(unfinished, seed, size, report)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(unfinished)
    return folder
