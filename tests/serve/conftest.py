"""One service for all tests of this folder: two engines in one replica (one of them serves base and lora) and
two scorers.

It lives until the last test of the session.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service import Service, serving
from tiny_run import write_run


@pytest.fixture(scope="session")
def run(toy_world: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("storage"), toy_world)


@pytest.fixture(scope="session")
def service(run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(run, tmp_path_factory.mktemp("service") / "log") as started:
        yield started
