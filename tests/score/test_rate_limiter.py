"""The queue of time slots: by the slots it hands out, on a clock that the test moves."""

import threading
from itertools import pairwise

import pytest

from detox_ray.cluster import Cluster
from detox_ray.score.rate_limiter import ClusterLimiter, LocalLimiter, limiter_for


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_slots_are_an_interval_apart_and_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    assert [limiter.reserve(0.5) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    clock.now += 1.75
    assert limiter.reserve(0.5) == 0.25
    clock.now += 1000
    assert [limiter.reserve(0.5) for _ in range(2)] == [0.0, 0.5]


def test_a_pause_moves_the_next_slot_and_never_forward() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    limiter.pause(10)
    limiter.pause(3)
    assert [limiter.reserve(1) for _ in range(2)] == [10.0, 11.0]


def test_threads_never_get_the_same_slot() -> None:
    limiter, waits = LocalLimiter(Clock()), []
    threads = [
        threading.Thread(target=lambda: waits.extend([limiter.reserve(0.25) for _ in range(100)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([0.25 * slot for slot in range(800)])


@pytest.mark.integration
def test_two_actors_share_one_rate_and_a_lost_queue_is_made_anew(ray_cluster: Cluster) -> None:
    import time

    import ray

    @ray.remote(num_cpus=0)
    class Caller:
        """Slots as times on the machine's clock, which both actors read."""

        def __init__(self) -> None:
            self.limiter = limiter_for("http://service", "KEY")
            assert isinstance(self.limiter, ClusterLimiter)

        def slots(self, count: int) -> list[float]:
            return [self.limiter.reserve(1000.0) + time.monotonic() for _ in range(count)]

    first, second = Caller.remote(), Caller.remote()
    ray.get(first.slots.remote(1))  # the queue is its
    theirs = ray.get([first.slots.remote(5), second.slots.remote(5)])
    slots = sorted([*theirs[0], *theirs[1]])
    gaps = [after - before for before, after in pairwise(slots)]
    assert gaps == pytest.approx([1000.0] * 9, abs=100), "ten slots of two callers, none shared, none left out"

    other = ray.get(second.slots.remote(1))[0]
    assert other == pytest.approx(slots[-1] + 1000, abs=100)
    ray.kill(first)
    assert len(ray.get(second.slots.remote(2))) == 2
    ray.kill(second)
