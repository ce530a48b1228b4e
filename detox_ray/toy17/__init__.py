"""toy17, the built-in world: 17 small languages, a tiny model and a tiny classifier. Only building one imports torch.

The default world is part of the package (``shipped/``), so that every machine has the same base model.

toy17 is a model organism. It shows that detoxification with English preference pairs carries over to a model's other
languages, and why. It does not show how large this effect is in any real model.
"""

import shutil
import tempfile
from pathlib import Path

from detox_ray.storage import cache_folder, key_of
from detox_ray.toy17.vocabulary import content_hash
from detox_ray.toy17.world_size import Report, WorldSize

VERSION = 4  # raise it whenever the code here changes what `build` writes

DEFAULT = WorldSize()
WORLDS = {"plain": DEFAULT, "stereotype": WorldSize.with_stereotype()}  # name in an experiment -> size
SHIPPED = Path(__file__).with_name("shipped")  # the world of seed 0 and size DEFAULT

__all__ = ["DEFAULT", "SHIPPED", "VERSION", "WORLDS", "Report", "WorldSize", "build", "ensure", "key", "local"]


def key(seed: int = 0, size: WorldSize = DEFAULT) -> str:
    """Return the world's key, which changes whenever the world changes."""
    return key_of(version=VERSION, languages=content_hash(), seed=seed, size=size.model_dump())


def build(folder: Path, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None) -> None:
    """Write a world into ``folder``, which must not exist or be empty. See `detox_ray.toy17.world`."""
    from detox_ray.toy17.world import build as write

    write(folder, seed, size, report)


def local(seed: int = 0, size: WorldSize = DEFAULT, cache_dir: Path | None = None) -> Path | None:
    """Return the world's folder if it is in the package or in the cache, else None."""
    if (seed, size) == (0, DEFAULT):
        return SHIPPED
    folder = _cached(cache_dir, seed, size)
    return folder if folder.is_dir() else None


def ensure(
    cache_dir: Path | None = None, seed: int = 0, size: WorldSize = DEFAULT, report: Report | None = None
) -> Path:
    """Return the world's folder: the shipped one, or one in the cache, which is built if necessary.

    A world is built in a temporary folder that is then renamed, so the cache contains only complete worlds. If two
    processes build the same world at the same time, the slower one uses the world of the faster one.
    """
    if (present := local(seed, size, cache_dir)) is not None:
        return present
    folder = _cached(cache_dir, seed, size)
    home = folder.parent
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


def _cached(cache_dir: Path | None, seed: int, size: WorldSize) -> Path:
    return (cache_dir or cache_folder()) / "toy17" / key(seed, size)
