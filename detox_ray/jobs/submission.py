"""The job that `detox-ray submit` sends to a Ray head, and the number of its attempt at the run."""

import getpass
import hashlib
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from detox_ray.config import ConfigError, Experiment, InputError, Problem
from detox_ray.config.storage_uri import locate
from detox_ray.jobs.attempts import JOB_VARIABLE
from detox_ray.jobs.ray_head import DRIVER, Job, RayHead

STOP_WAIT_S = 30  # between SIGTERM and SIGKILL; Ray's own 3 s are too short for a driver to end by itself
EXPERIMENT = "experiment.yaml"
HERE = "here"  # in the metadata: the job runs the submitter's own clone


class Submission(NamedTuple):
    """A run as a job, apart from the attempt's number."""

    run: str  # the experiment's name
    experiment: str  # the whole experiment as YAML
    folder: str  # of the run
    entrypoint: str
    here: Path | None  # the clone that is shipped; None: the code of the cluster's image

    @property
    def prefix(self) -> str:
        """Return the part that the ids of all attempts at this run share."""
        name = re.sub(r"[^A-Za-z0-9_-]", "-", self.run)
        return f"detox-{name}-{hashlib.sha256(self.experiment.encode()).hexdigest()[:8]}-"

    def id(self, attempt: int) -> str:
        return f"{self.prefix}{attempt}"

    def attempt(self, job: Job) -> int:
        """Return the number of a job's attempt; 0 if the job is of another run."""
        number = job.id.removeprefix(self.prefix)
        return int(number) if job.id.startswith(self.prefix) and number.isdecimal() else 0


class Submitted(NamedTuple):
    """The job that carries out a run."""

    job_id: str
    is_new: bool  # whether this call submitted it; otherwise it was already there


def of_experiment(experiment: Experiment) -> Submission:
    """Return the submission of an experiment that runs with the code of the cluster's image."""
    experiment = _with_whole_storage(experiment)
    return Submission(experiment.name, experiment.to_yaml(), experiment.folder, f"detox-ray run {EXPERIMENT}", None)


def of_clone(experiment: Experiment, config: Path, overrides: Sequence[str], clone: Path) -> Submission:
    """Return the submission of an experiment that runs with the code of a clone, which is shipped.

    Raises ConfigError if ``clone`` is not a clone of this repository, or does not contain the config.
    """
    if not (clone / "jobs" / "run.py").is_file():
        rule = "ships the current folder, which must be a clone of this repository: it has no jobs/run.py"
        raise ConfigError([Problem("--here", str(clone), rule)])
    inside = config.resolve()
    if not inside.is_relative_to(clone.resolve()):
        rule = f"must be in the folder that --here ships, {clone}"
        raise ConfigError([Problem("CONFIG", str(config), rule)])
    words = ["python", "jobs/run.py", str(inside.relative_to(clone.resolve())), *overrides]
    if not locate(experiment.storage).scheme:
        experiment = _with_whole_storage(experiment)
        words.append(f"storage={experiment.storage}")
    return Submission(experiment.name, experiment.to_yaml(), experiment.folder, shlex.join(words), clone)


def _with_whole_storage(experiment: Experiment) -> Experiment:
    """Return the experiment with its storage as an absolute path or URI: a job has another working folder."""
    return experiment.model_copy(update={"storage": locate(experiment.storage).uri})


def of_job(job: Job) -> Submission:
    """Return the submission that a job came from. Raises InputError if this client cannot submit it again."""
    if job.metadata.get(HERE):
        raise InputError(f"{job.id} ran the code of a clone: run its `detox-ray submit --here` again in that clone")
    if EXPERIMENT not in job.metadata:
        raise InputError(f"{job.id} was not submitted by `detox-ray submit`: submit it again the way it was submitted")
    name, folder = job.metadata["name"], job.metadata["folder"]
    return Submission(name, job.metadata[EXPERIMENT], folder, f"detox-ray run {EXPERIMENT}", None)


def check_storage(experiment: Experiment, head: RayHead) -> None:
    """Raise ConfigError if the storage is a folder of this machine, and the cluster is not this machine alone."""
    if locate(experiment.storage).scheme:
        return
    nodes = head.nodes()
    if not nodes.are_this_machine:
        names = ", ".join(nodes.host_names[:5]) or "none yet"
        rule = (
            f"must be a bucket (s3://…, gs://…): a folder of this machine is not on the cluster's nodes ({names}); "
            "if all nodes share the folder, use `detox-ray run` on the head, with RAY_ADDRESS set"
        )
        raise ConfigError([Problem("storage", experiment.storage, rule)])


def _user() -> str:
    """Return the user's name; "" if this machine has none for the user's number, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def next_job(submission: Submission, head: RayHead) -> Submitted:
    """Return the job that is carrying out this run, or the id of the next attempt."""
    attempts = [(submission.attempt(job), job) for job in head.jobs() if submission.attempt(job)]
    unfinished = [job.id for _, job in attempts if not job.has_ended]
    if unfinished:
        return Submitted(unfinished[0], is_new=False)
    return Submitted(submission.id(max((number for number, _ in attempts), default=0) + 1), is_new=True)


def submit(submission: Submission, head: RayHead) -> Submitted:
    """Submit the next attempt at a run, unless a job is carrying it out."""
    chosen = next_job(submission, head)
    if not chosen.is_new:
        return chosen
    resources = {DRIVER: 1.0} if head.nodes().head_resources.get(DRIVER, 0) >= 1 else {}
    metadata = {
        "detox_ray": "run",
        "name": submission.run,
        "folder": submission.folder,
        "user": _user(),
        EXPERIMENT: submission.experiment,
        **({HERE: "true"} if submission.here else {}),
    }
    env_vars = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), JOB_VARIABLE: chosen.job_id}
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / EXPERIMENT).write_text(submission.experiment, encoding="utf-8")
        working_folder = submission.here or Path(temporary)
        is_new = head.submit(chosen.job_id, submission.entrypoint, working_folder, env_vars, metadata, resources)
    return chosen._replace(is_new=is_new)
