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


@pytest.mark.parametrize(
    ("state", "bundles", "expected"),
    [
        ("PENDING", [{"GPU": 1.0}] * 4, True),
        ("CREATED", [{"GPU": 1.0}] * 4, False),
        ("PENDING", [{"GPU": 1.0}] * 3, False),
        ("PENDING", [{"CPU": 1.0}] * 4, False),
    ],
)
def test_a_training_that_waits_for_what_others_hold_is_seen(
    monkeypatch: pytest.MonkeyPatch, state: str, bundles: list[dict[str, float]], expected: bool
) -> None:
    group = {"state": state, "bundles": dict(enumerate(bundles))}
    monkeypatch.setattr("ray.util.placement_group_table", lambda: {"id": group})
    assert waiting.is_pending(4, {"GPU": 1, "CPU": 0}) is expected
