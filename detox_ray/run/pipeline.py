"""Carry an experiment through its stages, and skip units that are committed.

First, a check reports all problems at once, before anything expensive starts. Then the driver commits the data and
plans all stages (plan.py), without Ray. The stages of one command run together, so that their unit jobs share actors.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from detox_ray import data, models
from detox_ray.cluster import Cluster, connect
from detox_ray.cluster.connection import NOTHING_ASKED
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Stage
from detox_ray.cluster.unit_jobs import Job, UnitActors, run_jobs
from detox_ray.config import ClusterConfig, ConfigError, Experiment, InputError, Problem
from detox_ray.gate import rule_problems
from detox_ray.models import hub_mirror, limits
from detox_ray.run import manifest, record
from detox_ray.run.plan import made_of, needed_by, prepare
from detox_ray.run.stages import commands, registered
from detox_ray.storage import TABLES, Store, Unit, marker_summary
from detox_ray.storage.lock import run_lock
from detox_ray.storage.markers import Marker
from detox_ray.storage.metric_spec import Metrics
from detox_ray.storage.tables import FAILED


class CommandDone(NamedTuple):
    """The work of one command's stages in one call."""

    command: str
    new_units: int  # units that this call committed
    kept_units: int  # units that were committed before
    seconds: float


class Outcome(NamedTuple):
    """The outcome of a call, for the closing table."""

    context: Context
    commands: list[CommandDone]
    seconds: float
    peak_memory_gib: float | None  # of this process and its descendants


def check(experiment: Experiment, say: Callable[[str], None] = lambda note: None) -> data.ExperimentData:
    """Check an experiment without loading a model.

    Args:
        experiment: The experiment.
        say: Called with each note on how the data was read.

    Returns:
        The data that was read, so that the run commits exactly what was checked.

    Raises:
        ConfigError: The experiment has problems. It lists all of them.
    """
    inputs = data.ExperimentData.of(experiment)
    problems = inputs.check(say)
    for name, model in experiment.models.items():
        if model.path is not None:
            problems += models.check(f"models.{name}.path", model.path, model.parent)
    problems += limits.problems(experiment, limits.read(experiment))
    stages = registered()
    for stage in stages:
        problems += stage.check(experiment, say)
    metrics = Metrics([spec for stage in stages for spec in stage.metrics()])
    for problem in rule_problems(experiment.gate, metrics, experiment.languages):
        problems.append(problem._replace(field=f"gate.{problem.field}"))
    if reason := Store.at(experiment.folder).check_writable():
        problems.append(Problem("storage", experiment.storage, f"cannot be written: {reason}"))
    if problems:
        raise ConfigError(problems)
    return inputs


def run(
    experiment: Experiment,
    only: str | None,
    progress: Progress,
    verbose: bool = False,
    retry_failed: bool = False,
    lock_wait_s: float = 0,
) -> Outcome:
    """Carry the experiment through its stages.

    Args:
        experiment: The experiment.
        only: Run only the stages of this command; None: run all stages.
        progress: Shows the progress.
        verbose: Whether to show the workers' logs.
        retry_failed: Whether to make units with failures again, and all units that depend on them.
        lock_wait_s: Seconds to wait if another run holds the folder.

    Raises:
        ConfigError: The input is wrong.
        Locked: Another run holds the folder.
        LockLost: Another run took over the folder.

    Stages may raise other errors. Units that are committed by then stay committed.
    """
    started = time.monotonic()
    checked = check(experiment)
    store = Store.at(experiment.folder)
    done: list[CommandDone] = []
    with run_lock(store, lock_wait_s, progress.say), manifest.peak_memory() as memory:
        store.tidy()
        context = prepare(experiment, store, progress, checked)
        del checked  # free the memory of its tables, which are in the store now
        chosen = {name: stages for name, stages in commands(context.stages).items() if only in (None, name)}
        _need_earlier(context, chosen)
        if retry_failed:
            _forget_failures(context, [stage for stages in chosen.values() for stage in stages], progress)
        store.write_bytes("experiment.yaml", experiment.to_yaml().encode())
        record.write_plan(context)
        on_ray = [stage for stages in chosen.values() for stage in stages if stage.on_ray]
        with ray_if(bool(context.pending(on_ray)), verbose, experiment.cluster) as cluster, UnitActors() as actors:
            _prepare_cluster(context, cluster, progress)
            for command, stages in chosen.items():
                begun = time.monotonic()
                pending = context.pending(stages)
                make(context, command, stages, pending, cluster, progress, actors)
                seconds = time.monotonic() - begun
                done.append(CommandDone(command, len(pending), len(context.units_of(stages)) - len(pending), seconds))
                if pending:
                    record.write_manifest(context, command, seconds, cluster)
        return Outcome(context, done, time.monotonic() - started, memory.gib)


def make(
    context: Context,
    command: str,
    stages: Sequence[Stage],
    pending: Mapping[Unit, str],
    cluster: Cluster | None,
    progress: Progress,
    actors: UnitActors,
) -> None:
    """Make and commit the ``pending`` units of one command's stages. Unit jobs use ``actors`` and leave them alive."""
    marker_summary.forget(context.store, pending)
    jobs: list[Job] = []
    for stage in stages:
        names = {table.name for table in stage.writes}
        keys = {unit: key for unit, key in pending.items() if unit.table in names}
        if keys and stage.has_jobs:
            jobs += stage.jobs(context, context.tasks(keys))
        elif keys:
            actors.end()  # free their CPUs, GPUs and memory for a training and for other runs on the cluster
            stage.run(context, keys, cluster, progress)
    # Run the jobs in rounds: a job waits for those that make its inputs.
    jobs = _merged(jobs)
    while jobs:
        unmade = {id(job): {task.unit for task in job.tasks} for job in jobs}
        ready = [job for job in jobs if not any(_needs(job, unmade[id(other)]) for other in jobs if other is not job)]
        assert ready, f"jobs of {command} wait for each other"
        assert cluster is not None
        run_jobs(command, ready, store=context.store, cluster=cluster, progress=progress, actors=actors)
        jobs = [job for job in jobs if not any(job is finished for finished in ready)]


def _merged(jobs: Sequence[Job]) -> list[Job]:
    """Merge jobs that differ only in their tasks, such as those of two stages with the same scorer: it loads once."""
    merged: list[Job] = []
    for job in jobs:
        same = [place for place, other in enumerate(merged) if other._replace(tasks=()) == job._replace(tasks=())]
        if same:
            other = merged[same[0]]
            merged[same[0]] = other._replace(tasks=[*other.tasks, *job.tasks])
        else:
            merged.append(job)
    return merged


def _needs(job: Job, units: set[Unit]) -> bool:
    return any(unit in units for task in job.tasks for unit, _ in task.inputs)


def _need_earlier(context: Context, chosen: Mapping[str, Sequence[Stage]]) -> None:
    """Raise ConfigError if the chosen stages need units of other stages that are not committed."""
    chosen_stages = [stage for stages in chosen.values() for stage in stages]
    needed = needed_by(context.planned, context.pending(chosen_stages))
    for command, stages in commands(context.stages).items():
        missing = [] if command in chosen else [unit for unit in context.pending(stages) if unit in needed]
        if missing:
            rule = f"needs an earlier stage that is not finished: run `detox-ray {command} CONFIG` first"
            raise ConfigError([Problem(next(iter(chosen)), f"{len(missing)} units of {command} are missing", rule)])


def _forget_failures(context: Context, stages: Sequence[Stage], progress: Progress) -> None:
    """Retract the units of these stages that have failed rows, and all units that depend on them.

    The score cache still has the values of the other rows.
    """
    pending = context.pending(stages)
    done = {unit: key for unit, key in context.units_of(stages).items() if unit not in pending}
    failed = [unit for unit, key in done.items() if context.store.marker(unit, key, Marker).status_counts.get(FAILED)]
    if failed:
        remade = made_of(context.planned, failed)
        for table in {unit.table for unit in remade}:
            for unit in remade & context.store.committed(TABLES[table]).keys():
                context.store.retract(unit)
    progress.say(f"making {len(failed)} units with failures again")


def _prepare_cluster(context: Context, cluster: Cluster | None, progress: Progress) -> None:
    """Prepare for a cluster that was joined: copy models of the hub into its storage, and say if it has no GPU."""
    if cluster is None or cluster.address == "local":
        return
    if not context.store.is_local:
        for name, model in context.given.items():
            context.given[name] = hub_mirror.mirrored(model, context.store.beside, progress.say)
    if not cluster.gpus and not cluster.asked:  # may not be intended, because GPUs may be about to join
        progress.say(
            f"the Ray cluster at {cluster.address} has no GPU, so everything runs on CPUs; to wait for GPUs, set "
            "cluster.gpus to their number; to confirm CPUs, set it to 0"
        )


@contextmanager
def ray_if(needed: bool, verbose: bool, asks: ClusterConfig = NOTHING_ASKED) -> Iterator[Cluster | None]:
    """Connect to the cluster if it is needed. Mark an InputError that the block raises as found late."""
    with connect(verbose=verbose, asks=asks) if needed else nullcontext() as cluster:
        try:
            yield cluster
        except InputError as error:
            error.found_late = True
            raise
