"""Runs stages' jobs in this process, without Ray: each round's jobs one after another, as an actor would."""

import time
from collections.abc import Sequence

from detox_ray.cluster.stage import Context, Stage
from detox_ray.cluster.unit_jobs import Job


def run_alone(context: Context, stages: Sequence[Stage]) -> dict[str, float]:
    """Make and commit all pending units. Returns seconds of each job, by its label."""
    pending = context.pending(stages)
    jobs: list[Job] = []
    for stage in stages:
        names = {table.name for table in stage.writes}
        jobs += stage.jobs(context, context.tasks({u: key for u, key in pending.items() if u.table in names}))
    jobs = [job for job in jobs if job.tasks]
    seconds: dict[str, float] = {}
    while jobs:
        unmade = {task.unit for job in jobs for task in job.tasks}
        ready = [job for job in jobs if not any(unit in unmade for task in job.tasks for unit, _ in task.inputs)]
        assert ready
        for job in ready:
            started = time.monotonic()
            worker = job.worker(**job.settings)
            for task in job.tasks:
                product = worker.make(task)
                context.store.commit(task.unit, task.key, product.rows, {**product.info, "amount": product.amount})
            seconds[job.label] = round(time.monotonic() - started, 2)
        jobs = [job for job in jobs if job not in ready]
    return seconds
