"""Waiting for machines: seldom a line, and an end."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from detox_ray.cluster import waiting
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.waiting import WaitedTooLong, Waiting


def test_a_wait_is_reported_now_and_then_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now, out = [0.0], io.StringIO()
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(waiting, "_resources", lambda: "1 node, 0 GPUs (0 free) and 0 CPUs (0 free)")
    wait = Waiting("generate", Progress(Console(file=out, soft_wrap=True)), 100)

    def pass_time(until: int) -> None:
        while now[0] < until:
            now[0] += 1
            wait.go_on("2 GPUs for a worker process (8 wanted)")

    pass_time(9)
    wait.end()  # something ran
    pass_time(18)
    assert out.getvalue() == ""
    with pytest.raises(WaitedTooLong, match=r"waited 101 s for 2 GPUs .* wait longer \(cluster.wait_s\)"):
        pass_time(200)
    lines = out.getvalue().splitlines()
    assert [line.partition("free) (")[2] for line in lines] == ["10 of at most 100 s)", "70 of at most 100 s)"]
    assert lines[0].startswith(
        "generate: waits for 2 GPUs for a worker process (8 wanted); the cluster has 1 node, 0 GPUs"
    )
