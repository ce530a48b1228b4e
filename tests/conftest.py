"""Fixtures that more than one room needs."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from playwright.sync_api import Browser, sync_playwright

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

from process_groups import SERVICE, group_of

from detox_ray.cluster import Cluster, connect


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the groups in order; in one process, the service's tests last, for the service lives until then."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: group_of(item.nodeid)[0])
    else:
        items.sort(key=lambda item: group_of(item.nodeid) == SERVICE)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give groups of files to the processes (xdist_group does not work with pytest 9.2 and pytest-xdist 3.8)."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return GroupScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def storage_keys() -> Iterator[None]:
    """Hold keys for the S3 server before any worker starts: a URI takes none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """One local Ray on loopback for the session, with two CPUs whatever the machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connect(num_cpus=2) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The installed Chromium; for one module, for its event loop keeps others from running theirs."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small toy17 world: every file of the real one, trained for seconds only."""
    from detox_ray import toy17
    from detox_ray.toy17 import WorldSize

    return toy17.ensure(cache_dir=tmp_path_factory.mktemp("worlds"), seed=0, size=WorldSize.small())


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of an S3 server, on loopback and a free port, with buckets (s3_server.py).

    A process of its own: vLLM does not start in one that has imported Flask.
    """
    log = tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        endpoint = _address(process, log)
        filesystem = pafs.S3FileSystem(
            access_key="test",
            secret_key="test",
            endpoint_override=endpoint,
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        for bucket in ("bucket", "ignores-conditions", "refuses-conditions"):
            filesystem.create_dir(bucket)
        yield endpoint
    finally:
        process.terminate()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        if found := re.search(r"http://(127\.0\.0\.1:\d+)", said):
            return found.group(1)
        assert process.poll() is None, said
        time.sleep(0.1)
    raise TimeoutError(log.read_text(errors="replace"))
