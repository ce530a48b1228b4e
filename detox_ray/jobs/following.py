"""Follow a job until it ends: print its driver's log as it grows, also after a lost connection."""

import time
from collections.abc import Callable

from detox_ray.jobs.ray_head import Job, NoAnswer, RayHead

INTERVAL_S = 2.0
BYTES_PER_S = 200_000  # of a log, which is fetched whole each time: the longer it is, the less often
PATIENCE_S = 600  # for a head that does not answer
LOOK_IN_FOLDER = "`detox-ray jobs status FOLDER` shows the state that the run's folder records"


class Lost(RuntimeError):
    """The head no longer knows the job, or has not answered for a long time. The run's folder still has its state."""


def follow(
    head: RayHead,
    job_id: str,
    write: Callable[[str], None],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Job:
    """Print the log of a job as it grows, and return the job after its end.

    Args:
        head: Where the job runs.
        job_id: The submission id.
        write: Is called with each new part of the log.
        say: Is called with a message when the connection is lost, and when it is back.
        sleep: Waits for a number of seconds.

    Raises:
        Lost: The head forgot the job, as after a restart, or did not answer for ``PATIENCE_S``.
    """
    printed = 0
    silent_since: float | None = None
    while True:
        log = ""
        try:
            job = head.job(job_id)
            if job is None:
                cause = "the head was restarted, or the id is wrong"
                raise Lost(f"{head.address} does not know {job_id}: {cause}; {LOOK_IN_FOLDER}")
            log = _log(head, job)
            if silent_since is not None:
                say(f"{head.address} answers again")
            silent_since = None
        except NoAnswer as error:
            if silent_since is None:
                silent_since = time.monotonic()
                say(f"{error}; waiting until it does")
            if time.monotonic() - silent_since > PATIENCE_S:
                raise Lost(f"{error}, for {PATIENCE_S // 60} minutes; {LOOK_IN_FOLDER}") from None
            sleep(INTERVAL_S)
            continue
        write(log[printed:])
        printed = max(printed, len(log))
        if job.has_ended:
            return job
        sleep(max(INTERVAL_S, len(log) / BYTES_PER_S))


def _log(head: RayHead, job: Job) -> str:
    """Return the job's log; an empty one if the job has ended and its node took the log with it."""
    try:
        return head.log(job.id)
    except NoAnswer:
        if job.has_ended:
            return ""
        raise
