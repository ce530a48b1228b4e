"""The actors that make units, kept for as long as a run needs them.

A process that has imported torch and vLLM costs 10 s or more on two cores, which is longer than many jobs: so a run has
one pool, whose actors go from job to job and from command to command. An actor holds one worker, thus one model, at a
time.
"""

import gc
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.storage import Store, Table, Unit

FREE_SECONDS = 10  # given to an actor to close an engine before its process is ended


class Task(NamedTuple):
    """A unit to make, and the committed units it is made from."""

    unit: Unit
    key: str
    inputs: tuple[tuple[Unit, str], ...]

    def inputs_of(self, table: Table) -> list[tuple[Unit, str]]:
        """Return the inputs that are units of ``table``, with their keys."""
        return [(unit, key) for unit, key in self.inputs if unit.table == table.name]

    def read(self, store: Store, *tables: Table) -> pa.Table:
        """Return the rows of the one input that is a unit of one of the tables."""
        ((unit, key),) = [each for table in tables for each in self.inputs_of(table)]
        return store.read(unit, key)


class Product(NamedTuple):
    """The result of a task."""

    rows: pa.Table
    info: dict[str, Any]  # for the commit marker, which also gets "seconds"
    amount: int  # of the job's measure (tokens, texts), for the rate


class Worker(Protocol):
    """Holds a loaded model."""

    def make(self, task: Task) -> Product: ...


class UnitFailure(NamedTuple):
    """The reason why a unit was not made."""

    reason: str
    mistake: bool  # whether it is the user's, who can correct it


class Share(NamedTuple):
    """How many actors a job has, and what each reserves."""

    actors: int
    cpus: float
    gpus: int


class WorkerSpec(NamedTuple):
    """The arguments from which an actor loads a job's worker."""

    load: Callable[[], Worker]
    store: Store


class UnitActor:
    """Makes a unit per call, in a process of its own. A job's worker is loaded with the first unit that the actor gets.

    The previous worker is freed before, because both may not fit. The constructor loads nothing, so that whatever a
    worker's loading raises is the failure of a unit.
    """

    def __init__(self) -> None:
        self._loaded: tuple[Any, Worker] | None = None  # job, worker
        self._broken: dict[Any, UnitFailure] = {}  # job -> why it cannot be loaded; not tried again

    def make(self, spec: list[Any], task: Task) -> tuple[int, UnitFailure | None]:
        """Make and commit a unit.

        Args:
            spec: The reference of the job's `WorkerSpec` in Ray's object store, in a list: a call does not read it.
            task: The unit.

        Returns:
            The product's amount, and None or the failure.
        """
        (job,) = spec
        if failure := self._broken.get(job):
            return 0, failure
        try:
            return self._make(job, task), None
        except Exception as error:
            failure = UnitFailure(shortened(error), isinstance(error, InputError))
            if self._loaded is None:
                self._broken[job] = failure
            return 0, failure

    def _make(self, job: Any, task: Task) -> int:
        import ray

        loading: dict[str, float] = {}
        started = time.monotonic()
        if self._loaded is None or self._loaded[0] != job:
            self.free()
            self._spec: WorkerSpec = ray.get(job)
            self._loaded = (job, self._spec.load())
            loading["load_seconds"] = round(time.monotonic() - started, 3)
            started = time.monotonic()
        product = self._loaded[1].make(task)
        seconds = round(time.monotonic() - started, 3)
        info = {**product.info, "amount": product.amount, **loading, "seconds": seconds}
        self._spec.store.commit(task.unit, task.key, product.rows, info)
        return product.amount

    def free(self) -> None:
        """Give up the loaded worker and its memory."""
        self._loaded = None
        gc.collect()


def shortened(error: BaseException) -> str:
    """Return an error's message, of bounded length, with its class unless it is written for the user."""
    return (str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")[:2000]


class UnitActors:
    """A pool of `UnitActor`, which ends with the block: ``with UnitActors() as actors``."""

    def __init__(self) -> None:
        self._actors: list[Any] = []
        self._kind: tuple[float, int, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(wait=error is None)

    def take(self, share: Share, group: str) -> list[Any]:
        """Return as many actors as ``share`` says. Present ones are kept if they reserve the same and did the same.

        Args:
            share: How many, and what each reserves.
            group: Name of the jobs that must have processes of their own; "" for all that share theirs.
        """
        kind = (share.cpus, share.gpus, group)
        if kind != self._kind:
            self.end()
            self._kind = kind
        self._end(self._actors[share.actors :], FREE_SECONDS)
        self._actors = self._actors[: share.actors]
        self._actors += [self._start() for _ in range(share.actors - len(self._actors))]
        return list(self._actors)

    def replace(self, actor: Any) -> Any:
        """Return a new actor for one whose process died or cannot be reached."""
        self._end([actor], 0)
        new = self._start()
        self._actors[self._actors.index(actor)] = new
        return new

    def end(self, wait: bool = True) -> None:
        """End all processes, so that others find their CPUs, GPUs and memory free.

        Args:
            wait: Whether an actor may close its engine, after the unit in its hand.
        """
        self._end(self._actors, FREE_SECONDS if wait else 0)
        self._actors = []

    def _start(self) -> Any:
        import ray

        assert self._kind is not None
        cpus, gpus, _ = self._kind
        return ray.remote(UnitActor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0).remote()

    def _end(self, actors: list[Any], seconds: float) -> None:
        if not actors:
            return
        import ray

        try:
            if seconds:
                ray.wait([actor.free.remote() for actor in actors], num_returns=len(actors), timeout=seconds)
            for actor in actors:
                ray.kill(actor)
        except ray.exceptions.RayError:
            pass  # Ray itself is gone, and its processes with it
