"""The tables of the commands `submit` and `jobs`."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from detox_ray.cli.output import Listing, Output

if TYPE_CHECKING:
    from detox_ray.jobs.ray_head import Job, RayHead
    from detox_ray.jobs.submission import Submission

JOB_FIELDS = ("id", "state", "exit_code", "message", "started", "ended", "name", "folder", "user")
ATTEMPT_FIELDS = ("number", "job_id", "state", "host", "started", "beat", "exit_code", "reason", "ended")


def job_row(job: "Job") -> dict[str, Any]:
    """Return a job as a row with the fields `JOB_FIELDS`."""
    described = {name: job.metadata.get(name) for name in ("name", "folder", "user")}
    own = {name: getattr(job, name) for name in ("id", "state", "exit_code", "message", "started", "ended")}
    return {**own, **described}


def local_time(seconds: float | None) -> str:
    """Format a time in seconds since 1970; "" for None."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


def write_submitted(
    output: Output, planned: "Submission", job_id: str, head: "RayHead", is_new: bool, dry_run: bool
) -> None:
    """Write the result of a submission: the job, its run and how to follow it."""
    row = {
        "id": job_id,
        "address": head.address,
        "folder": planned.folder,
        "entrypoint": planned.entrypoint,
        "submitted": is_new and not dry_run,
        "at_work": not is_new,
    }
    if not is_new:
        line = f"{job_id} is already carrying out {planned.folder}"
    elif dry_run:
        line = f"{job_id} would carry out {planned.folder} at {head.address}: {planned.entrypoint}"
    else:
        line = f"{job_id} carries out {planned.folder} at {head.address}"
    hint = f"detox-ray jobs logs {job_id} --follow --address {head.address}"
    output.write(Listing(tuple(row), [row], [line if dry_run else f"{line}\n{hint}"], document=row))
