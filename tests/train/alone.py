"""Trainings without Ray: the code of a worker in processes of their own, imports paid once for any number of jobs.

`alone` starts ``world`` processes that run this file; they stay for its next call.
"""

import atexit
import functools
import os
import pickle
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detox_ray.train import cpu
from detox_ray.train.place import Job, Place

Each = Callable[[Job, Place], dict[str, Any] | None]


def train_alone(jobs: Sequence[Job], world: int = 1, timeout: float = 600) -> list[dict[str, Any] | str]:
    """Run the jobs one after another; for each what its marker would say, or its error as "TypeName: message".

    The result's folder lies in the job's store, as after `train.train`, without a marker.
    """
    return alone(trained, jobs, world, timeout)


def trained(job: Job, place: Place) -> dict[str, Any] | None:
    from detox_ray.train.fit import fit

    return fit(job, place, [], None, 0)


def alone(each: Each, jobs: Sequence[Job], world: int = 1, timeout: float = 600) -> list[dict[str, Any] | str]:
    """What ``each``, a function of a module beside this one, returns on rank 0 for each of the jobs, or its error."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "jobs").write_bytes(pickle.dumps((each, list(jobs))))
        for job in jobs:  # what a driver's worker removes at its end, and some tests look at
            atexit.register(shutil.rmtree, job.scratch, ignore_errors=True)
        workers = _workers(world)
        try:
            for worker in workers:
                worker.begin(folder)
            deadline = time.monotonic() + timeout
            for worker in workers:
                worker.wait(deadline - time.monotonic())
        except BaseException:
            _workers.cache_clear()
            for worker in workers:
                worker.end()
            raise
        infos: list[dict[str, Any] | str] = pickle.loads((Path(folder) / "infos").read_bytes())
        return infos


class _Worker:
    """A process that stays until the tests end: it is told a folder with jobs, and says when they are done."""

    def __init__(self, group: str, rank: int, world: int):
        self._done, told = os.pipe()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-W", "ignore", __file__, group, str(told), str(rank), str(world)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=[told])
        os.close(told)
        atexit.register(self.end)

    def begin(self, folder: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder}\n".encode())
        self._process.stdin.flush()

    def wait(self, seconds: float) -> None:
        ready, _, _ = select.select([self._done], [], [], max(0, seconds))
        if not ready:
            raise TimeoutError(f"the jobs were not done within {seconds:.0f} s")
        assert os.read(self._done, 1), f"a worker died: exit code {self._process.wait()}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@functools.cache
def _workers(world: int) -> list[_Worker]:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return [_Worker(f"{folder.name}/group", rank, world) for rank in range(world)]


def main(group: str, done: int, rank: int, world: int) -> None:
    cpu.before_imports()
    os.environ |= {
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
    }
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    import torch

    torch.set_num_threads(1)
    # One group for all calls: DeepSpeed keeps the first one that it sees.
    torch.distributed.init_process_group("gloo", init_method=f"file://{group}", rank=rank, world_size=world)
    for line in sys.stdin:
        _run(Path(line.strip()), rank, world)
        torch.distributed.barrier()
        os.write(done, b".")


def _run(folder: Path, rank: int, world: int) -> None:
    infos: list[dict[str, Any] | str] = []
    each, jobs = pickle.loads((folder / "jobs").read_bytes())
    for job in jobs:
        try:
            info = each(job, Place(rank, rank, world))
        except Exception as error:
            infos.append(f"{type(error).__name__}: {error}")
        else:
            infos.append(info or {})
    if rank == 0:
        (folder / "infos").write_bytes(pickle.dumps(infos))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
