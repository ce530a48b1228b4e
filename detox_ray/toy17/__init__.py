"""toy17, the built-in world: 17 small languages, a tiny model, a tiny classifier. Only building it imports torch.

It is a model organism. It shows that detoxification by English preference pairs carries over to other languages of a
model, and why. It does not show how much it does so in any real model.
"""

import shutil
import tempfile
from pathlib import Path

from detox_ray.storage import cache_folder, key_of
from detox_ray.toy17.vocabulary import content_hash
from detox_ray.toy17.world_size import Report, WorldSize

VERSION = 3  # raise it whenever the code here changes what `build` writes

DEFAULT = WorldSize()

__all__ = ["DEFAULT", "VERSION", "Report", "WorldSize", "build", "ensure", "key"]


def key(seed: int = 0, size: WorldSize = DEFAULT) -> str:
    """Return the world's key, which changes whenever the world changes."""
    return key_of(version=VERSION, languages=content_hash(), seed=seed, size=size.model_dump())


def build(folder: Path, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None) -> None:
    """Write a world into ``folder``, which must not exist or be empty. See `detox_ray.toy17.world`."""
    from detox_ray.toy17.world import build as write

    write(folder, seed, size, report)


def ensure(
    cache_dir: Path | None = None, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None
) -> Path:
    """Return the world's folder in the cache; build the world if the cache does not hold it.

    A world is built in a temporary folder that is then renamed, so the cache holds complete worlds only. If two
    processes build the same world at once, the slower one takes the faster one's.
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
