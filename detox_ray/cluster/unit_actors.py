"""The actor that makes units: it holds one worker, thus one model, at a time."""

import gc
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.storage import Store, Table, Unit

COMMIT_PATIENCE_S = 60  # given to a storage that fails; soon after, the run loses its folder (storage/lock.py)


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
    unwritten: bool = False  # whether the unit was made, and could not be written to the storage


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


class NotWritten(RuntimeError):
    """A unit was made, and could not be written to the storage."""


class UnitActor:
    """Loads the workers of jobs, one at a time, and makes units with them, in a process of its own.

    The previous worker is freed before the next one is loaded, because both may not fit. The constructor loads nothing,
    so that the process answers while it waits for its first job.
    """

    def __init__(self) -> None:
        self._loaded: tuple[Any, WorkerSpec, Worker] | None = None  # reference of the job's spec, the spec, its worker
        self._load_seconds: float | None = None  # of the loaded worker; None once a marker has it

    def load(self, spec: list[Any]) -> UnitFailure | None:
        """Load a job's worker.

        Args:
            spec: The reference of the job's `WorkerSpec` in Ray's object store, in a list: a call does not read it.

        Returns:
            None, or why it cannot be loaded.
        """
        import ray

        (job,) = spec
        if self._loaded is not None and self._loaded[0] == job:
            return None  # the answer to the first call did not arrive
        self.free()
        started = time.monotonic()
        try:
            loading: WorkerSpec = ray.get(job)
            self._loaded = (job, loading, loading.load())
        except Exception as error:
            if engine_is_lost(error):
                raise  # the driver replaces this actor
            return UnitFailure(shortened(error), isinstance(error, InputError))
        self._load_seconds = round(time.monotonic() - started, 3)
        return None

    def make(self, spec: list[Any], task: Task) -> tuple[int, UnitFailure | None]:
        """Make and commit a unit with the job's worker, which `load` has loaded.

        Args:
            spec: As for `load`.
            task: The unit.

        Returns:
            The product's amount, and None or the failure.
        """
        (job,) = spec
        if self._loaded is None or self._loaded[0] != job:
            return 0, UnitFailure("its worker is not loaded", False)
        try:
            return self._make(*self._loaded[1:], task), None
        except Exception as error:
            if engine_is_lost(error):
                raise
            return 0, UnitFailure(shortened(error), isinstance(error, InputError), isinstance(error, NotWritten))

    def _make(self, spec: WorkerSpec, worker: Worker, task: Task) -> int:
        started = time.monotonic()
        product = worker.make(task)
        seconds = round(time.monotonic() - started, 3)
        loading = {} if self._load_seconds is None else {"load_seconds": self._load_seconds}
        self._load_seconds = None
        _commit(spec.store, task, product, {**product.info, "amount": product.amount, **loading, "seconds": seconds})
        return product.amount

    def where(self) -> tuple[str, str]:
        """Return the id of this process's node, and its name: this shows that the process is up."""
        import ray

        return ray.get_runtime_context().get_node_id(), f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"

    def free(self) -> None:
        """Give up the loaded worker and its memory."""
        self._loaded = None
        gc.collect()


def _commit(store: Store, task: Task, product: Product, info: dict[str, Any]) -> None:
    """Commit a unit. A storage that fails gets time to recover, because the unit may have taken minutes to make.

    Raises:
        NotWritten: The storage failed for `COMMIT_PATIENCE_S`.
    """
    deadline, pause = time.monotonic() + COMMIT_PATIENCE_S, 1.0
    while True:
        try:
            store.commit(task.unit, task.key, product.rows, info, replaces=task.replaces)
            return
        except OSError as error:
            if time.monotonic() + pause > deadline:
                raise NotWritten(shortened(error)) from error
        time.sleep(pause)
        pause *= 2


def engine_is_lost(error: BaseException) -> bool:
    """Return whether an engine's own processes, which may be on other nodes, died: no later unit can be made."""
    import ray

    return isinstance(error, ray.exceptions.RayActorError) or type(error).__name__ == "EngineDeadError"


def shortened(error: BaseException) -> str:
    """Return an error's message, of bounded length, with its class unless it is written for the user."""
    explains_itself = isinstance(error, InputError | NotWritten)
    return (str(error) if explains_itself else f"{type(error).__name__}: {error}")[:2000]
