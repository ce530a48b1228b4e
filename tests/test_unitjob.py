"""The unit job: what is lost when an actor dies or a unit cannot be made."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from detox_ray.cluster import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, JobError, Product, Share, Task, UnitActors, run_jobs, share
from detox_ray.config import InputError
from detox_ray.storage import Store
from detox_ray.storage.tables import TEXTS

KEY = "k" * 16


def tasks(count: int) -> list[Task]:
    return [Task(TEXTS.unit(language=f"l{number}"), KEY, ()) for number in range(count)]


class Writer:
    """Makes one row a unit; dies or raises where it is told to. Appends to a log what it does."""

    def __init__(
        self, log: str, dies_at: str = "", dies: int = 0, raises_at: str = "", broken: Exception | None = None
    ):
        if broken:
            raise broken
        self.log, self.dies_at, self.dies, self.raises_at = Path(log), dies_at, dies, raises_at
        self.note(f"loaded {os.getpid()}")

    def note(self, line: str) -> None:
        with self.log.open("a") as stream:
            stream.write(line + "\n")

    def make(self, task: Task) -> Product:
        language = task.unit["language"]
        self.note(f"make {language}")
        if language == self.dies_at and self.log.read_text().count(f"make {language}") <= self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if language == self.raises_at:
            raise ValueError("this text is cursed")
        rows = [{"text_id": language, "text": "x", "source": "test"}]
        return Product(pa.Table.from_pylist(rows, schema=TEXTS.columns), {"by": "writer"}, 1)


@pytest.fixture(scope="module")
def kept(ray_cluster: Cluster) -> Iterator[UnitActors]:
    """One pool for all tests: a process that starts takes longer than a job."""
    with UnitActors() as actors:
        yield actors


def run(
    store: Store,
    cluster: Cluster,
    kept: UnitActors,
    count: int,
    out: io.StringIO | None = None,
    **settings: object,
) -> str:
    """The job over ``count`` units by one actor; what its progress printed, into ``out``."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import this file
    log, out = store.path("log"), out or io.StringIO()
    os.makedirs(store.path(), exist_ok=True)
    progress = Progress(Console(file=out, soft_wrap=True))
    jobs = [Job("writing", tasks(count), Writer, {"log": log, **settings}, "rows", 1)]
    run_jobs("write", jobs, store=store, cluster=cluster, progress=progress, actors=kept)
    return out.getvalue()


def log_of(store: Store) -> list[str]:
    return Path(store.path("log")).read_text().splitlines()


@pytest.mark.parametrize(
    ("nodes", "actors", "units", "expected"),
    [
        ([2], "auto", 9, (1, 2, 0)),
        ([1], "auto", 9, (1, 1, 0)),
        ([16], "auto", 9, (4, 4, 0)),
        ([16], "auto", 2, (2, 8, 0)),
        ([3] * 6, "auto", 99, (4, 3, 0)),  # not 4 each, which no node has
        ([5, 3], 2, 9, (2, 3, 0)),
        ([2], 3, 9, (3, 0.66, 0)),
    ],
)
def test_actors_get_cpus_that_some_node_has(nodes: list[int], actors: object, units: int, expected: object) -> None:
    assert share(Cluster("local", len(nodes), sum(nodes), 0), nodes, actors, units)[:3] == expected  # type: ignore[arg-type]


def test_actors_are_one_per_group_of_gpus() -> None:
    cluster = Cluster("local", 1, 16, 4)
    assert share(cluster, [16], "auto", 9, gpus=2) == Share(2, 1, 2)
    assert share(cluster, [16], "auto", 1, gpus=1) == Share(1, 1, 1)


@pytest.mark.integration
def test_killed_actor_loses_and_doubles_no_unit(tmp_path: Path, ray_cluster: Cluster, kept: UnitActors) -> None:
    store = Store.at(str(tmp_path / "run"))
    printed = run(store, ray_cluster, kept, 6, dies_at="l2", dies=1)
    assert store.committed(TEXTS) == {task.unit: KEY for task in tasks(6)}
    assert len([name for name in store.files("texts") if name.endswith(".parquet")]) == 6
    lines = log_of(store)
    assert len({line for line in lines if line.startswith("loaded")}) == 2  # a second process took over
    assert lines.count("make l2") == 2
    assert "6/6 units" in printed


@pytest.mark.integration
def test_failing_unit_is_one_error_and_the_others_are_committed(
    tmp_path: Path, ray_cluster: Cluster, kept: UnitActors
) -> None:
    store = Store.at(str(tmp_path / "run"))
    with pytest.raises(
        JobError, match=r"1 of 4 units failed; texts/language=l1/00000: ValueError: this text is cursed"
    ):
        run(store, ray_cluster, kept, 4, raises_at="l1")
    assert {unit["language"] for unit in store.committed(TEXTS)} == {"l0", "l2", "l3"}
    assert log_of(store).count("make l1") == 1  # an exception is not tried again


@pytest.mark.integration
def test_units_that_fail_are_not_counted_as_done(tmp_path: Path, ray_cluster: Cluster, kept: UnitActors) -> None:
    progress = io.StringIO()
    with pytest.raises(JobError):
        run(Store.at(str(tmp_path / "run")), ray_cluster, kept, 3, out=progress, raises_at="l2")
    assert "3/3" not in progress.getvalue()
    assert "2/3 units" in progress.getvalue()


@pytest.mark.integration
def test_unit_that_always_kills_its_actor_keeps_no_other_from_being_made(
    tmp_path: Path, ray_cluster: Cluster, kept: UnitActors
) -> None:
    store = Store.at(str(tmp_path / "run"))
    with pytest.raises(
        JobError,
        match=r"1 of 4 units failed; texts/language=l1/00000: the worker process that made it died 3 times, "
        r"the last time on node \S+ \(127.0.0.1\): Worker unexp",
    ):
        run(store, ray_cluster, kept, 4, dies_at="l1", dies=99)
    assert {unit["language"] for unit in store.committed(TEXTS)} == {"l0", "l2", "l3"}
    # A process may die before the driver has its answer for l0: the death then counts for l0, which is asked for again.
    assert log_of(store).count("make l1") == 3 + log_of(store).count("make l0") - 1
    assert log_of(store).count("make l2") == 1  # it was in the hand of each actor that died


@pytest.mark.integration
def test_kept_actors_go_from_job_to_job_and_then_free_their_cpus(
    tmp_path: Path, ray_cluster: Cluster, kept: UnitActors
) -> None:
    import ray

    stores = [Store.at(str(tmp_path / name)) for name in "ab"]
    for store in stores:
        run(store, ray_cluster, kept, 2)
    kept.end()
    ray.get(ray.remote(num_cpus=ray_cluster.cpus)(lambda: None).remote(), timeout=60)  # all of them are free
    first, second = ([line for line in log_of(store) if line.startswith("loaded")] for store in stores)
    assert first == second  # the same process, which loaded a worker for each
    assert len(first) == 1


@pytest.mark.integration
def test_mistake_of_the_user_is_said_in_its_own_words(tmp_path: Path, ray_cluster: Cluster, kept: UnitActors) -> None:
    said = r"^generate\.max_tokens: too many \(writing: 2 of 2 units failed\)$"
    with pytest.raises(InputError, match=said):
        run(Store.at(str(tmp_path / "run")), ray_cluster, kept, 2, broken=InputError("generate.max_tokens: too many"))


@pytest.mark.integration
def test_worker_that_cannot_load_is_said_once(tmp_path: Path, ray_cluster: Cluster, kept: UnitActors) -> None:
    with pytest.raises(JobError, match=r"3 of 3 units failed; .*: OSError: no weights here"):
        run(Store.at(str(tmp_path / "run")), ray_cluster, kept, 3, broken=OSError("no weights here"))
