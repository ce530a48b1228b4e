"""The board: one small actor on which the workers note how far they are, and which the driver reads.

It also keeps the verdict on an error. Ray Train restarts the workers after any error; an error that would come again
(a wrong setting, a loss that is not a number) is put on the board, and restarted workers that find it there leave at
once instead of failing ``max_failures`` times over.
"""

from typing import Any, NamedTuple


class BoardState(NamedTuple):
    """What the driver sees."""

    total: int = 0  # optimizer steps; 0 until the first worker is ready
    step: int = 0
    note: str = ""
    reference: tuple[int, int] = (0, 0)  # passes of the reference before the first step: done, total
    warnings: tuple[str, ...] = ()  # what a person should know though the training goes on, each once
    error: tuple[bool, str] | None = None  # (the user's mistake, message)


class ProgressBoard:
    """Run as a Ray actor."""

    def __init__(self) -> None:
        self._state = BoardState()

    def begin(self, total: int, step: int) -> None:
        """Workers are ready to train from ``step`` (not 0 where they resume)."""
        self._state = self._state._replace(total=total, step=step)

    def at(self, step: int, note: str) -> None:
        self._state = self._state._replace(step=step, note=note or self._state.note)

    def refer(self, done: int, total: int) -> None:
        self._state = self._state._replace(reference=(done, total))

    def warn(self, message: str) -> None:
        if message not in self._state.warnings:
            self._state = self._state._replace(warnings=(*self._state.warnings, message))

    def fail(self, users_mistake: bool, message: str) -> None:
        if self._state.error is None:
            self._state = self._state._replace(error=(users_mistake, message))

    def state(self) -> BoardState:
        return self._state


def start() -> Any:
    """A new board's actor handle. It takes no CPU from the workers, and is lost with the driver's node only."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(ProgressBoard).options(scheduling_strategy=here).remote()
