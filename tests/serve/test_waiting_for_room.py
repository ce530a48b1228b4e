"""A service whose replicas find no room says so, and does not wait endlessly."""

import io
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from detox_ray.cluster import waiting
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.waiting import WaitedTooLong
from detox_ray.serve import launch
from detox_ray.serve.app import engine_options


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """What SIGINT does in a command that a terminal starts, and in one that a script leaves in the background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    assert signal.getsignal(signal.SIGINT) == request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_replicas_without_room_are_waited_for_aloud_and_not_endlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "Deployment 'e' has 1 replicas that have taken more than 30s to be scheduled."
    application = SimpleNamespace(status="DEPLOYING", deployments={"e": SimpleNamespace(message=message)})
    status = SimpleNamespace(applications={"served-e": application})
    monkeypatch.setattr("ray.serve.status", lambda: status)
    monkeypatch.setattr(waiting, "_resources", lambda: "1 node, 0 GPUs (0 free)")
    monkeypatch.setattr(waiting, "FIRST_LINE_S", 0.0)
    out = io.StringIO()
    progress = Progress(Console(file=out, soft_wrap=True))
    with (
        pytest.raises(WaitedTooLong, match=r"waited \d s for room for engine; the cluster has 1 node"),
        launch._show_progress(progress, {"engine": "served-e", "scoring": "served-s"}, 1.5),
    ):
        time.sleep(30)
    assert "start: waits for room for engine" in out.getvalue()


def test_the_gpus_of_an_engine_are_on_one_node() -> None:
    config: Any = SimpleNamespace(tensor_parallel=4, cpus=1, replicas=1, max_replicas=None, max_ongoing=8)
    options = engine_options(SimpleNamespace(config=config), gpus=True)  # type: ignore[arg-type]
    assert options["placement_group_strategy"] == "STRICT_PACK"
    assert [bundle["GPU"] for bundle in options["placement_group_bundles"]] == [1] * 4
