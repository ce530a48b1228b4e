"""Unit jobs: pending units go to actors that load a model once and commit what they make.

A result never passes through the driver: the actor reads its inputs from the store and commits its product itself, and
what it returns says only how much was done. So a killed actor, node or job loses the units in flight and no more; they
are made again, and a commit made twice is the same commit.

An exception is returned, not raised: the other units are finished, and the job then raises one error. If a worker
process dies, a new one takes over, and a unit that has killed `DEATHS` processes is given up. A lost node is nobody's
fault, however often it happens: units go to actors on the nodes that are there, and nodes that join get actors, too.
Actors on a node that is about to leave finish the unit in work.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from typing import Literal

from detox_ray.cluster.actor_pool import UnitActors
from detox_ray.cluster.connection import Cluster
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import usable_nodes
from detox_ray.cluster.unit_actors import Product, Share, Task, Worker
from detox_ray.cluster.unit_round import UnitRound
from detox_ray.cluster.unit_tally import Failed, Job, JobError
from detox_ray.config import InputError
from detox_ray.storage import Store

__all__ = ["Job", "JobError", "Product", "Share", "Task", "UnitActors", "Worker", "run_jobs", "share"]

CPUS_PER_ACTOR = 4  # if the number of actors is "auto"


def share(
    cluster: Cluster,
    nodes: Sequence[float],
    actors: int | Literal["auto"],
    units: int,
    gpus: int = 1,
    stages: int = 1,
) -> Share:
    """Return how many actors there are, never more than units, and what each reserves.

    With GPUs, each reserves ``gpus`` for each of its engine's ``stages``. Without them, or if actors have no use for
    one, each reserves the most whole CPUs with which all actors fit on the ``nodes`` (the CPUs of each), so that none
    waits endlessly; or a fraction of a CPU if there are more actors than CPUs. One actor asks for a CPU if no node has
    any: it is what a cluster that grows on demand adds a node for.
    """
    if cluster.gpus and gpus:
        most = max(1, int(cluster.gpus) // (gpus * stages))
        return Share(min(units, most if actors == "auto" else actors), 1, gpus, stages)
    if not nodes:
        return Share(1, 1, 0)
    wanted = min(units, max(1, int(sum(nodes)) // CPUS_PER_ACTOR) if actors == "auto" else actors)
    for cpus in range(int(max(nodes)), 0, -1):
        if sum(int(node // cpus) for node in nodes) >= wanted:
            return Share(wanted, cpus, 0)
    return Share(wanted, int(100 * min(1.0, min(nodes) / wanted)) / 100, 0)


def run_jobs(
    label: str,
    jobs: Sequence[Job],
    *,
    store: Store,
    cluster: Cluster,
    progress: Progress,
    actors: UnitActors | None = None,
) -> None:
    """Make and commit all tasks of ``jobs``, in their order, with actors that each hold one worker at a time.

    Jobs that want the same GPUs share their actors: starting a process and importing torch takes longer than many jobs.

    Args:
        label: Name of the jobs in progress and messages.
        jobs: The jobs.
        store: Where actors read and commit.
        cluster: The connected Ray.
        progress: Shows how many units are done.
        actors: A pool that is kept for later jobs; None: one that ends with these.

    Raises:
        InputError: A worker raised it.
        JobError: A unit could not be made. All units that can be made are committed first.
    """

    def pool(job: Job) -> tuple[str, int, int, str]:
        """Return what jobs that share their actors have in common."""
        kind = (job.gpus, job.stages, job.label if job.alone else "") if cluster.gpus else (0, 1, "")
        return str(job.actors), *kind

    jobs = [job for job in jobs if job.tasks]
    failed: list[Failed] = []
    units = sum(len(job.tasks) for job in jobs)
    with (
        progress.task(label, units) if jobs else nullcontext() as bar,
        UnitActors() if actors is None else nullcontext(actors) as kept,
    ):
        for (_, gpus, stages, alone), members in groupby(sorted(jobs, key=pool), key=pool):
            together = list(members)
            count = sum(len(job.tasks) for job in together)
            size = partial(_share_now, cluster, together[0].actors, count, gpus, stages)
            joined = cluster.address != "local"
            failed += UnitRound(label, together, store, kept, size, alone, bar, progress, cluster.wait_s, joined).run()
    if failed:
        first = next((one for one in failed if one.failure.mistake), failed[0])
        some = f"{len(failed)} of {units} units failed"
        if first.failure.mistake:
            raise InputError(f"{first.failure.reason} ({first.job}: {some})")
        raise JobError(f"{first.job}: {some}; {first.unit.name}: {first.failure.reason}")


def _share_now(cluster: Cluster, actors: int | Literal["auto"], units: int, gpus: int, stages: int) -> Share:
    """Return the share on the nodes that are there now."""
    nodes = [node["Resources"] for node in usable_nodes()]
    if cluster.gpus and not cluster.asked:
        cluster = cluster._replace(gpus=max(cluster.gpus, sum(node.get("GPU", 0) for node in nodes)))
    return share(cluster, [node["CPU"] for node in nodes if node.get("CPU")], actors, units, gpus, stages)
