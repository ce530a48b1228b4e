"""Waiting for machines that have not joined yet, with a limit and messages about what is missing."""

import time
from collections.abc import Mapping

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import usable_nodes

FIRST_LINE_S, NEXT_LINE_S = 10.0, 60.0  # time before the first message and between later ones


class WaitedTooLong(RuntimeError):
    """The machines that the work needs did not join in time."""


class Waiting:
    """A clock of the time during which nothing could run, for one job or training."""

    def __init__(self, label: str, progress: Progress, limit_s: float):
        self._label, self._progress, self._limit_s = label, progress, limit_s
        self.end()

    def end(self) -> None:
        """Record that something runs, which ends the wait."""
        self._since = time.monotonic()
        self._next_line = self._since + FIRST_LINE_S

    @property
    def seconds(self) -> float:
        """Return the number of seconds during which nothing has run."""
        return time.monotonic() - self._since

    def go_on(self, wanted: str) -> None:
        """Record that nothing runs until ``wanted`` is available. Raise WaitedTooLong after the limit."""
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line, waited = now + NEXT_LINE_S, now - self._since
        missing = f"{wanted}; the cluster has {_resources()}"
        if waited > self._limit_s:
            rule = "add nodes, ask for less (cluster.gpus), or wait longer (cluster.wait_s), and run the command again"
            raise WaitedTooLong(f"{self._label}: waited {waited:.0f} s for {missing}: {rule}")
        self._progress.say(f"{self._label}: waits for {missing} ({waited:.0f} of at most {self._limit_s:.0f} s)")
        self._next_line = min(self._next_line, self._since + max(self._limit_s, waited) + 0.1)


def lacks(bundles: int, needs: Mapping[str, float]) -> bool:
    """Return whether the cluster's nodes, free or busy, lack room for a number of bundles of resources."""
    room = 0
    for node in usable_nodes():
        has = node["Resources"]
        room += min((int(has.get(name, 0) // amount) for name, amount in needs.items() if amount), default=bundles)
    return room < bundles


def is_pending(bundles: int, needs: Mapping[str, float]) -> bool:
    """Return whether a placement group of these bundles is pending, for example because others use the resources."""
    import ray

    wanted = [{name: float(amount) for name, amount in needs.items() if amount}] * bundles
    groups = ray.util.placement_group_table().values()
    return any(group["state"] == "PENDING" and list(group["bundles"].values()) == wanted for group in groups)


def _resources() -> str:
    """Describe the total and free resources of the cluster."""
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    parts = [f"{total.get(name, 0):g} {name}s ({free.get(name, 0):g} free)" for name in ("GPU", "CPU")]
    return f"{nodes} node{'s' if nodes != 1 else ''}, {' and '.join(parts)}"
