"""Trainings without Ray: the code of a worker in processes of their own, imports paid once for all tests.

`alone` starts ``world`` processes that run this file, and keeps them for its next call.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.train import deepspeed_cpu
from detox_ray.train.training_job import TrainingJob, TrainWorker

Each = Callable[[TrainingJob, TrainWorker], dict[str, Any] | None]

_kept: dict[int, list["Worker"]] = {}  # by world


def train_alone(jobs: Sequence[TrainingJob], world: int = 1, timeout: float = 600) -> list[dict[str, Any] | str]:
    """Run the jobs one after another. Return what each marker would say, or the error as "TypeName: message".

    The result's folder lies in the job's store, as after `train.train`, without a marker.
    """
    return alone(trained, jobs, world, timeout)


def trained(job: TrainingJob, worker: TrainWorker) -> dict[str, Any] | None:
    from detox_ray.train.train_loop import run_train_loop

    return run_train_loop(job, worker, [], None, 0)


def alone(each: Each, jobs: Sequence[TrainingJob], world: int = 1, timeout: float = 600) -> list[dict[str, Any] | str]:
    """Return what ``each`` returns on rank 0 for every job, or its error.

    ``each`` is a function of a module beside this one.
    """
    for job in jobs:  # what a driver's worker removes at its end, and some tests look at
        atexit.register(shutil.rmtree, job.scratch, ignore_errors=True)
    workers = _kept.pop(world, None) or started(world)
    try:
        for worker in workers:
            worker.connection.send((each, list(jobs)))
        answers = [worker.answer(timeout) for worker in workers]
    except BaseException:
        for worker in workers:
            worker.end()
        raise
    _kept[world] = workers
    return answers[0]


class Worker:
    """A process of rank ``rank`` and a pipe to it; it ends when this process does."""

    def __init__(self, group: str, rank: int, world: int) -> None:
        self.connection, its = Pipe()
        command = [sys.executable, "-W", "ignore", __file__, group, str(rank), str(world), str(its.fileno())]
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.process = subprocess.Popen(command, env=environment, pass_fds=[its.fileno()])
        its.close()
        atexit.register(self.end)

    def answer(self, timeout: float) -> list[dict[str, Any] | str]:
        """Return the answers to the jobs sent last.

        Raises EOFError if the process ended, TimeoutError if it is silent for ``timeout`` seconds.
        """
        if not self.connection.poll(timeout):
            raise TimeoutError(f"no answer of process {self.process.pid} within {timeout} s")
        answer: list[dict[str, Any] | str] = self.connection.recv()
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def started(world: int) -> list[Worker]:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return [Worker(f"{folder}/group", rank, world) for rank in range(world)]


def main(group: str, rank: int, world: int, connection: Connection) -> None:
    deepspeed_cpu.before_imports()
    os.environ |= {
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    import torch

    import_without_sklearn(trainer=True)
    from deepspeed.runtime import torch_autocast

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{group}", rank=rank, world_size=world)
    while True:
        try:
            each, jobs = connection.recv()
        except EOFError:  # the tests are over
            return
        answers: list[dict[str, Any] | str] = []
        for job in jobs:
            try:
                answers.append(each(job, TrainWorker(rank, rank, world)) or {})
            except Exception as error:
                answers.append(f"{type(error).__name__}: {error}")
            # DeepSpeed leaves it on after a float16 training, for all that this process does next.
            torch_autocast.TORCH_AUTOCAST_INITIALIZED = False
        connection.send(answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Connection(int(sys.argv[4])))
