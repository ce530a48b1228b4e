"""Trainings without Ray: the code of a worker in processes of their own, imports paid once for any number of jobs.

`alone` starts ``world`` processes that run this file.
"""

import atexit
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
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
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        started = [
            subprocess.Popen([sys.executable, "-W", "ignore", __file__, folder, str(rank), str(world)], env=environment)
            for rank in range(world)
        ]
        try:
            codes = [process.wait(timeout) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
        assert not any(codes), f"exit codes {codes}"
        infos: list[dict[str, Any] | str] = pickle.loads((Path(folder) / "infos").read_bytes())
        return infos


def main(folder: Path, rank: int, world: int) -> None:
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
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
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
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
