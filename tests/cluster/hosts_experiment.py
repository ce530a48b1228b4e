"""A whole experiment that takes seconds, for hosts on which something happens to it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from detox_ray.storage import TABLES, Store, cache_folder
from detox_ray.storage.units import Table

UNITS = 48  # of generation, and of scores
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": f"{Path(__file__).parent}:{ROOT}",
    "DETOX_RAY_CACHE": str(cache_folder()),  # so that the built-in world is built once
    "OMP_NUM_THREADS": "1",
}
TRAINED: dict[str, Any] = {
    "parent": "base",
    "method": "dpo",
    "trainable": ["mlp"],
    "workers": 2,
    "deepspeed": "zero2",
    "placement": "SPREAD",
    "learning_rate": 2e-4,
    "warmup_steps": 0,
    "max_steps": 60,
    "checkpoint_every": 10,
    "batch_size": 8,
    "keep": "last",
    "max_length": 64,
    "max_failures": 0,  # what a lost node costs does not count
}


def written(folder: Path, storage: str | None = None, trained: bool = False, **train: Any) -> Path:
    """Write the experiment's config into a new folder: `UNITS` units of generation, and as many of scores.

    Args:
        folder: Where the config goes, and the run unless ``storage`` is given.
        storage: Where the run goes.
        trained: Whether a model is trained, too.
        train: Fields of its train block that differ.
    """
    experiment: dict[str, Any] = {
        "name": "small",
        "storage": storage or str(folder),
        "languages": ["en", "fr", "ja"],
        "data": {
            "prompts": {"source": "toy17", "per_language": 32},
            "pairs": {"source": "toy17", "language": "en"},
        },
        "models": {"base": {"path": "toy17"}, **({"detox": {"train": TRAINED | train}} if trained else {})},
        "generate": {"engine": "transformers", "samples": 4, "prompts_per_unit": 96 // UNITS, "actors": 2},
        "score": {"scorers": ["toy17-detoxify"]},
    }
    folder.mkdir(exist_ok=True)
    file = folder / "experiment.yaml"
    file.write_text(json.dumps(experiment))
    return file


def command(name: str, *words: str | Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-m", "detox_ray", name, *words)


def undisturbed(folder: Path, *names: str, trained: bool = False) -> Path:
    """Carry out commands on a Ray of this machine, and return the run's folder."""
    file = written(folder, trained=trained)
    environment = {**os.environ, **ENVIRONMENT}
    environment.pop("RAY_ADDRESS", None)
    for name in names:
        subprocess.run(command(name, file), check=True, env=environment, cwd=ROOT)
    return folder / "small"


def without(run: Path, folder: Path, *tables: Table) -> Path:
    """Copy a run into a new folder, without some of its tables. Return its config."""
    shutil.copytree(run, folder / "small")
    for table in tables:
        for part in (table.name, f"commits/{table.name}"):
            shutil.rmtree(folder / "small" / part)
    return written(folder)


def rows(run: str | Path, table: Table) -> dict[str, Any]:
    """Return the rows of each unit of a table that is committed."""
    store = Store.at(str(run))
    return {unit.name: store.read(unit, key).to_pylist() for unit, key in sorted(store.committed(table).items())}


def commits(run: Path, table: Table) -> int:
    return len(list((run / "commits" / table.name).rglob("*.json")))


if __name__ == "__main__":  # on a host that alone reaches the storage
    print(json.dumps(rows(sys.argv[1], TABLES[sys.argv[2]])))
