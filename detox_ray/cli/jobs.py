"""The commands `submit` and `jobs`: runs on a Ray cluster, through its head."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detox_ray.cli.arguments import Config, Overrides, Verbose
from detox_ray.cli.exit_codes import DONE, FAILED, IN_USE, STOPPED, exit_codes
from detox_ray.cli.job_tables import ATTEMPT_FIELDS, JOB_FIELDS, job_row, local_time, write_submitted
from detox_ray.cli.output import Format, FormatOption, JsonOption, Listing, Output
from detox_ray.cli.terminal_tables import Column, TerminalTable
from detox_ray.config import InputError
from detox_ray.config.loading import opened

if TYPE_CHECKING:
    from detox_ray.jobs.attempts import Attempt
    from detox_ray.jobs.ray_head import Job, RayHead

jobs_app = typer.Typer(help="List, follow, cancel and resume runs on a Ray cluster.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The dashboard of the Ray head; by default $DETOX_RAY_ADDRESS."),
]
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="A job's id, as `jobs list` shows it.")]
JobOrRun = Annotated[
    str, typer.Argument(metavar="ID|RUN", help="A job's id, or a run's folder or URI, which needs no cluster.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print the driver's lines until it ends.")]
CANCEL_WAIT_S = 90  # Ray reports a job as stopped up to 30 s after its driver has ended
SUBMITTING = "if the job was submitted, it continues: `detox-ray jobs list` shows it"


class JobState(StrEnum):
    """The states of Ray's jobs."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


def submit(
    config: Config,
    overrides: Overrides = None,
    address: Address = None,
    follow: Follow = False,
    here: Annotated[
        bool, typer.Option("--here", help="Run the code of the clone in the current folder instead of the image's.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be submitted, and submit nothing.")
    ] = False,
    verbose: Verbose = False,
    as_json: JsonOption = False,
) -> None:
    """Carry out an experiment on a Ray cluster: submit it to the head as a job.

    While a job for the same experiment is running, another call finds it and submits nothing. After it has ended, the
    next call continues from what is committed. With --follow, the exit code is that of the run.
    """
    output = Output(Format.TABLE, as_json)
    with exit_codes(verbose, interrupted=SUBMITTING), opened(config, overrides or ()) as experiment:
        from detox_ray.jobs.ray_head import RayHead
        from detox_ray.jobs.submission import check_storage, next_job, of_clone, of_experiment
        from detox_ray.jobs.submission import submit as submit_to

        planned = of_clone(experiment, config, overrides or (), Path.cwd()) if here else of_experiment(experiment)
        head = RayHead.at(address)
        check_storage(experiment, head)
        submitted = next_job(planned, head) if dry_run else submit_to(planned, head)
        write_submitted(output, planned, submitted.job_id, head, submitted.is_new, dry_run)
    if follow and not dry_run:
        _follow(head, submitted.job_id, planned.folder, verbose)


@jobs_app.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    address: Address = None,
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the jobs that `detox-ray submit` sent to a head, the latest first. A restarted head has forgotten them."""
    with exit_codes(verbose):
        from detox_ray.jobs.ray_head import RayHead

        jobs = [job for job in RayHead.at(address).jobs() if state in (None, job.state)]
        columns = (Column("id", "key"), Column("state"), Column("started"), Column("run"))
        cells = [(job.id, job.state, local_time(job.started), job.metadata.get("folder", "")) for job in jobs]
        table: TerminalTable | str = TerminalTable("", columns, cells) if jobs else "no jobs"
        Output(form, as_json).write(Listing(JOB_FIELDS, [job_row(job) for job in jobs], [table]))


@jobs_app.command("status")
def status(
    job_or_run: JobOrRun, address: Address = None, verbose: Verbose = False, as_json: JsonOption = False
) -> None:
    """Show the state of a job, or of the latest attempt at a run. Exit code 0: finished, 3: not yet, 1: failed."""
    with exit_codes(verbose):
        output = Output(Format.TABLE, as_json)
        if _is_run(job_or_run):
            from detox_ray.jobs.attempts import deciding_attempt

            attempts = _attempts(job_or_run)
            rows = [{name: getattr(attempt, name) for name in ATTEMPT_FIELDS} for attempt in attempts]
            columns = (Column("attempt", "key"), Column("job"), Column("state"), Column("host"), Column("started"))
            cells = [
                (str(row["number"]), row["job_id"], row["state"], row["host"], local_time(row["started"]))
                for row in rows
            ]
            deciding = deciding_attempt(attempts)
            reason = [f"attempt {deciding.number}: {deciding.reason}"] if deciding.reason else []
            output.write(Listing(ATTEMPT_FIELDS, rows, [TerminalTable("", columns, cells), *reason]))
            code = _status_code(deciding)
        else:
            job = _job(_head(address), job_or_run)
            text = f"{job.id} {job.state}{f': {job.message}' if job.message else ''}\nrun {job.metadata.get('folder')}"
            output.write(Listing(JOB_FIELDS, [job_row(job)], [text], document=job_row(job)))
            code = STOPPED if job.exit_code in (None, STOPPED, IN_USE) else min(job.exit_code or 0, FAILED)
    raise typer.Exit(code)


@jobs_app.command("logs")
def logs(
    job_or_run: JobOrRun,
    follow: Follow = False,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", help="The attempt of a run; by default the latest.")
    ] = None,
    address: Address = None,
    verbose: Verbose = False,
) -> None:
    """Print what the driver of a job printed. For a run, print the log of an attempt from the run's folder."""
    with exit_codes(verbose):
        if _is_run(job_or_run):
            from detox_ray.jobs.attempts import read_log
            from detox_ray.storage.folder import Folder

            if follow:
                raise InputError(
                    "--follow: needs a job's id; a run's folder has the log as far as it has been uploaded"
                )
            attempts = _attempts(job_or_run)
            chosen = [one for one in attempts if one.number == attempt] if attempt is not None else attempts[-1:]
            if not chosen:
                numbers = ", ".join(str(one.number) for one in attempts)
                raise InputError(f"--attempt {attempt}: {job_or_run} has the attempts {numbers}")
            log = read_log(Folder.at(job_or_run), chosen[0])
            if not log:
                why = "its driver has printed nothing yet, or its output does not go to a file"
                print(f"attempt {chosen[0].number} has no log: {why}", file=sys.stderr)
            _print(log)
            return
        if attempt is not None:
            raise InputError(f"--attempt {attempt}: needs a run's folder; {job_or_run} is one attempt")
        head = _head(address)
        job = _job(head, job_or_run)
        if not follow:
            _print(head.log(job_or_run))
            return
    _follow(head, job_or_run, job.metadata.get("folder"), verbose)


@jobs_app.command("cancel")
def cancel(job_id: JobArgument, address: Address = None, verbose: Verbose = False) -> None:
    """Stop a job. What is committed stays, and `jobs resume` continues from there."""
    with exit_codes(verbose, interrupted="the job will stop nevertheless"):
        head = _head(address)
        job = _job(head, job_id, "they ended with it")
        if job.has_ended:
            print(f"{job_id} had already ended: {job.state}")
            return
        head.stop(job_id)
        print(f"stopping {job_id}", flush=True)
        deadline = time.monotonic() + CANCEL_WAIT_S
        while not (job := _job(head, job_id, "they ended with it")).has_ended and time.monotonic() < deadline:
            time.sleep(1)
        if not job.has_ended:
            hint = f"`detox-ray jobs status {job_id}` shows when it ends"
            print(f"{job_id} is still {job.state} after {CANCEL_WAIT_S} s; {hint}")
        elif job.state == JobState.SUCCEEDED:
            print(f"{job_id} {job.state}: it finished before it was stopped")
        else:
            print(f"{job_id} {job.state}; `detox-ray jobs resume {job_id}` continues from what is committed")


@jobs_app.command("resume")
def resume(
    job_id: JobArgument,
    follow: Follow = False,
    address: Address = None,
    verbose: Verbose = False,
    as_json: JsonOption = False,
) -> None:
    """Submit the experiment of a job that has ended again. It continues from what is committed."""
    output = Output(Format.TABLE, as_json)
    with exit_codes(verbose, interrupted=SUBMITTING):
        from detox_ray.jobs.submission import of_job
        from detox_ray.jobs.submission import submit as submit_to

        head = _head(address)
        planned = of_job(_job(head, job_id, "`detox-ray submit CONFIG` continues from what is committed"))
        submitted = submit_to(planned, head)
        write_submitted(output, planned, submitted.job_id, head, submitted.is_new, dry_run=False)
    if follow:
        _follow(head, submitted.job_id, planned.folder, verbose)


# --- what the commands share ----------------------------------------------------------------------------------------


def _detached(head: "RayHead", job_id: str) -> str:
    """Return the message for a user who stops following a job."""
    words = f"{job_id} --address {head.address}"
    commands = f"`detox-ray jobs logs {words} --follow` follows it again, `detox-ray jobs cancel {words}` stops it"
    return f"the job continues; {commands}"


def _is_run(text: str) -> bool:
    """Return whether an argument is a run's folder or URI rather than a job's id, which has no slash."""
    return "/" in text or Path(text).is_dir()


def _head(address: str | None) -> "RayHead":
    from detox_ray.jobs.ray_head import RayHead

    return RayHead.at(address)


def _job(head: "RayHead", job_id: str, otherwise: str = "give the run's folder instead") -> "Job":
    """Return a job.

    Raises:
        InputError: If the head does not know the job. The message ends with ``otherwise``, what to do instead.
    """
    job = None if "/" in job_id else head.job(job_id)
    if job is None:
        raise InputError(
            f"{head.address} does not know the job {job_id}: `detox-ray jobs list` shows the jobs that it knows. "
            f"A head that was restarted forgets its jobs; {otherwise}"
        )
    return job


def _attempts(run: str) -> "list[Attempt]":
    from detox_ray.jobs.attempts import read_attempts
    from detox_ray.storage.folder import Folder

    attempts = read_attempts(Folder.at(run))
    if not attempts:
        raise InputError(f"{run} has no record of a job: it was not carried out by `detox-ray submit`")
    return attempts


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _status_code(attempt: "Attempt") -> int:
    """Return the exit code for the state of a run: done, failed, or not yet finished."""
    unfinished = ("running", "stopped", "lost", "in use")
    return STOPPED if attempt.state in unfinished else DONE if attempt.state == "finished" else FAILED


def _follow(head: "RayHead", job_id: str, folder: str | None, verbose: bool) -> None:
    """Print a job's log until it ends, then exit with the exit code of its run. Ctrl-C does not stop the job.

    If the head is lost, the run's folder tells whether the run continues or has ended.
    """
    with exit_codes(verbose, interrupted=_detached(head, job_id)):
        from detox_ray.jobs.attempts import last_attempt
        from detox_ray.jobs.following import Lost, follow

        output = Output(Format.TABLE)
        try:
            job = follow(head, job_id, _print, lambda message: print(message, file=sys.stderr, flush=True))
            output.say(f"{job_id} {job.state}{f': {job.message}' if job.state != 'SUCCEEDED' else ''}")
            code = job.exit_code or 0
        except Lost as error:
            attempt = last_attempt(folder, job_id) if folder else None
            state = f"{attempt.state}, by the run's folder" if attempt else "unknown: the run may still be running"
            print(f"{error}. The state of {folder or job_id} is {state}", file=sys.stderr)
            code = _status_code(attempt) if attempt else STOPPED
    raise typer.Exit(code)
