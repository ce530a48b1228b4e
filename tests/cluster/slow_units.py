"""Units that take their time, made on the cluster at RAY_ADDRESS: a script for a host, which lost nodes disturb.

Each unit that is begun leaves an empty file begun/SHARD-HOST in the folder, which all hosts see.

slow_units.py FOLDER UNITS SECONDS [number of actors, or auto]
"""

import sys
import time
from typing import Any

import pyarrow as pa
from rich.console import Console

from detox_ray.cluster import connect
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, Product, Task, run_jobs
from detox_ray.storage import Store
from detox_ray.storage.tables import TEXTS

KEY = "k" * 16


def tasks(count: int) -> list[Task]:
    return [Task(TEXTS.unit(language="en", shard=number), KEY, ()) for number in range(count)]


class SlowWriter:
    """Makes a row that depends on the unit alone."""

    def __init__(self, seconds: float, begun: str):
        self._seconds, self._begun = seconds, begun

    def make(self, task: Task) -> Product:
        import socket
        from pathlib import Path

        Path(self._begun).mkdir(exist_ok=True)
        Path(self._begun, f"{task.unit.shard}-{socket.gethostname()}").touch()
        time.sleep(self._seconds)
        rows = [{"text_id": f"t{task.unit.shard}", "text": f"text {task.unit.shard}", "source": "test"}]
        return Product(pa.Table.from_pylist(rows, schema=TEXTS.columns), {"host": socket.gethostname()}, 1)


def main(folder: str, units: str, seconds: str, actors: str = "2") -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    progress = Progress(Console(file=sys.stdout, soft_wrap=True))
    settings: dict[str, Any] = {"seconds": float(seconds), "begun": f"{folder}/begun"}
    jobs = [
        Job("writing", tasks(int(units)), SlowWriter, settings, "rows", "auto" if actors == "auto" else int(actors))
    ]
    with connect() as cluster:
        run_jobs("write", jobs, store=Store.at(folder), cluster=cluster, progress=progress)


if __name__ == "__main__":
    main(*sys.argv[1:])
