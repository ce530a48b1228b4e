"""Fixtures that more than one room needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detox_ray.cluster import Cluster, connect


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """One local Ray on loopback for the session, with two CPUs whatever the machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connect(num_cpus=2) as cluster:
            yield cluster


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small toy17 world: every file of the real one, trained for seconds only."""
    from detox_ray import toy17
    from detox_ray.toy17 import WorldSize

    return toy17.ensure(cache_dir=tmp_path_factory.mktemp("worlds"), seed=0, size=WorldSize.small())
