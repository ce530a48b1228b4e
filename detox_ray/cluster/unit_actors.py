"""The actors that make units, kept for as long as a run needs them.

A process that has imported torch and vLLM costs 10 s or more on two cores, which is longer than many jobs: so a run has
one pool, whose actors go from job to job and from command to command. An actor holds one worker, thus one model, at a
time.
"""

import gc
import socket
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
    replaces: bool = True  # whether the unit may be committed under another key

    def inputs_of(self, table: Table) -> list[tuple[Unit, str]]:
        """Return the inputs that are units of ``table``, with their keys."""
        return [(unit, key) for unit, key in self.inputs if unit.table == table.name]

    def input_of(self, *tables: Table) -> tuple[Unit, str]:
        """Return the one input that is a unit of one of the tables, with its key."""
        (source,) = [each for table in tables for each in self.inputs_of(table)]
        return source

    def read(self, store: Store, *tables: Table) -> pa.Table:
        """Return the rows of the one input that is a unit of one of the tables."""
        return store.read(*self.input_of(*tables))

    def read_rows(self, store: Store, start: int, count: int, *tables: Table) -> pa.Table:
        """Return ``count`` rows, from ``start`` on, of the one input that is a unit of one of the tables."""
        return store.read_rows(*self.input_of(*tables), start, count)


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
    gpus: int  # of each stage
    stages: int = 1  # of an engine whose layers are spread over several nodes


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
            if engine_is_lost(error):
                raise  # the driver replaces this actor
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
        self._spec.store.commit(task.unit, task.key, product.rows, info, replaces=task.replaces)
        return product.amount

    def where(self) -> tuple[str, str]:
        """Return the id of this process's node, and its name: this shows that the process is up."""
        import ray

        return ray.get_runtime_context().get_node_id(), f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"

    def free(self) -> None:
        """Give up the loaded worker and its memory."""
        self._loaded = None
        gc.collect()


def engine_is_lost(error: BaseException) -> bool:
    """Return whether an engine's own processes, which may be on other nodes, died: no later unit can be made."""
    import ray

    return isinstance(error, ray.exceptions.RayActorError) or type(error).__name__ == "EngineDeadError"


def shortened(error: BaseException) -> str:
    """Return an error's message, of bounded length, with its class unless it is written for the user."""
    return (str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")[:2000]


class Place(NamedTuple):
    """The node on which an actor runs."""

    node_id: str
    name: str  # host name and address, for messages


class PoolActor:
    """One actor of a pool, as the driver sees it."""

    def __init__(self, handle: Any, group: Any = None):
        self.handle = handle
        self.group = group  # the placement group that its engine spans; None if it stays on one node
        self.place: Place | None = None  # None until the process is up
        self.nodes: frozenset[str] = frozenset()  # ids of those that its processes may be on; empty until it is up
        self.answer: Any = handle.where.remote()  # the pending answer to "where are you?"; None if it is known

    def ask(self) -> None:
        """Ask whether the process lives and where; it gets no units until it answers."""
        self.answer = self.handle.where.remote()


class UnitActors:
    """A pool of `UnitActor`, which ends with the block: ``with UnitActors() as actors``."""

    def __init__(self) -> None:
        self.members: list[PoolActor] = []
        self._kind: tuple[float, int, int, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(wait=error is None)

    def take(self, share: Share, group: str) -> None:
        """Have as many actors as ``share`` says. Present ones are kept if they reserve the same and did the same.

        They may be up, or start once the cluster has room: ``members`` shows it.

        Args:
            share: How many, and what each reserves.
            group: Name of the jobs that must have processes of their own; "" for all that share theirs.
        """
        kind = (share.cpus, share.gpus, share.stages, group)
        if kind != self._kind:
            self.end()
            self._kind = kind
        for actor in self.members[share.actors :]:
            self.remove(actor, FREE_SECONDS)
        while len(self.members) < share.actors:
            self.members.append(self._start())

    def replace(self, actor: PoolActor) -> None:
        """Start a new actor in place of one whose process died or cannot be reached."""
        self.remove(actor)
        self.members.append(self._start())

    def remove(self, actor: PoolActor, seconds: float = 0) -> None:
        """End an actor, which has ``seconds`` to close its engine."""
        self._end([actor], seconds)
        self.members.remove(actor)

    def end(self, wait: bool = True) -> None:
        """End all processes, so that others find their CPUs, GPUs and memory free.

        Args:
            wait: Whether an actor may close its engine, after the unit in its hand.
        """
        self._end(self.members, FREE_SECONDS if wait else 0)
        self.members = []

    def _start(self) -> PoolActor:
        import ray

        assert self._kind is not None
        cpus, gpus, stages, _ = self._kind
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        group = None
        if stages > 1:
            # The engine's own processes take a bundle each, and reserve its GPU; the actor reserves none.
            group = ray.util.placement_group([{"CPU": 1, "GPU": 1}] * (gpus * stages), strategy="PACK")
            inside = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
            options |= {"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": inside}
        return PoolActor(ray.remote(UnitActor).options(**options).remote(), group)

    def _end(self, actors: list[PoolActor], seconds: float) -> None:
        if not actors:
            return
        import ray

        try:
            # One that is not up would not answer: it waits for a place.
            calls = [actor.handle.free.remote() for actor in actors if actor.answer is None] if seconds else []
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=seconds)
            for actor in actors:
                ray.kill(actor.handle)
                if actor.group is not None:
                    ray.util.remove_placement_group(actor.group)
        except ray.exceptions.RayError:
            pass  # Ray itself is gone, and its processes with it
