"""The progress board: a small actor to which workers report their progress, and which the driver reads.

Workers exchange small values over it (`worker.RayPeers`).

It also keeps an error that ends the training. Ray Train restarts the workers after any error. An error that would
recur, such as a wrong setting or a loss that is not finite, is put on the board. Restarted workers find it there and
return at once, instead of failing ``max_failures`` times.
"""

from typing import Any, NamedTuple


class BoardState(NamedTuple):
    """The state of the board at one moment."""

    total: int = 0  # optimizer steps; 0 until the first worker is ready
    step: int = 0  # optimizer steps taken
    note: str = ""  # the latest loss, in words
    reference: tuple[int, int] = (0, 0)  # forward passes of the reference before the first step: done, total
    warnings: tuple[str, ...] = ()  # distinct ones; the training continues
    error: tuple[bool, str] | None = None  # (whether the user's settings are the cause, message)


class ProgressBoard:
    """A Ray actor that holds a `BoardState`."""

    def __init__(self) -> None:
        self._state = BoardState()
        self._shared: dict[tuple[int, int], Any] = {}

    def begin(self, total: int, step: int) -> None:
        """Record that the workers are ready to train from ``step``, which is not 0 if they resume."""
        self._state = self._state._replace(total=total, step=step)

    def set_step(self, step: int, note: str) -> None:
        self._state = self._state._replace(step=step, note=note or self._state.note)

    def set_reference(self, done: int, total: int) -> None:
        self._state = self._state._replace(reference=(done, total))

    def warn(self, message: str) -> None:
        if message not in self._state.warnings:
            self._state = self._state._replace(warnings=(*self._state.warnings, message))

    def fail(self, users_mistake: bool, message: str) -> None:
        if self._state.error is None:
            self._state = self._state._replace(error=(users_mistake, message))

    def state(self) -> BoardState:
        return self._state

    def share(self, number: int, rank: int, value: Any) -> None:
        """Record a worker's value of the exchange ``number``. A restarted worker replaces it."""
        self._shared[number, rank] = value

    def shared(self, number: int, world: int) -> list[Any]:
        """Return the values of all workers of the exchange ``number``, by rank."""
        return [self._shared[number, rank] for rank in range(world)]


def start() -> Any:
    """Start a board and return its actor handle. It uses no CPU of the workers and runs on the driver's node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    drivers_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(ProgressBoard).options(scheduling_strategy=drivers_node).remote()
