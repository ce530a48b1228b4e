"""The description of one training that every worker receives, and a worker's rank."""

import getpass
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit, key_of

BEST_STEP = "best_step"  # metric of a checkpoint: its step if it is the best so far, otherwise 0


class TrainingJob(NamedTuple):
    """Everything that a worker needs to know about one training."""

    name: str  # the model's name in the experiment
    key: str  # the result's key
    config: TrainConfig
    parent: LoadableModel
    rows: tuple[Unit, str]  # the committed unit of PAIRS, or of TEXTS, from which the model learns, and its key
    seed: int  # the train block's seed or, without one, the experiment's
    store: Store
    gpu: bool  # whether workers compute on GPUs
    node: int = 0  # Ray Train's number of this worker's node; several nodes may be on one machine
    exports_later: bool = False  # whether the model is exported by a task of its own, after the workers have ended

    @property
    def folder(self) -> str:
        """Return the folder in the store with Ray Train's state, which exists until the result is committed."""
        return f"training/{self.name}-{self.key}"

    @property
    def scratch(self) -> Path:
        """Return this node's local folder for files before their upload. A later call finds it again and clears it.

        It is in $DETOX_RAY_SCRATCH of the node's environment or, if that is not set, in the system's temporary folder.
        """
        identity = key_of(store=self.store.uri, name=self.name, key=self.key, node=self.node, user=getpass.getuser())
        return Path(os.environ.get("DETOX_RAY_SCRATCH") or tempfile.gettempdir()) / f"detox-ray-training-{identity}"

    @property
    def fetched(self) -> Path:
        """Return this node's local folder for the checkpoint from which its workers resume, if it must be copied."""
        return self.scratch.with_name(f"{self.scratch.name}-fetched")

    @property
    def result(self) -> Path:
        """Return the local folder, on rank 0's node, for the trained weights until their export."""
        return self.scratch.with_name(f"{self.scratch.name}-result")


class Outcome(NamedTuple):
    """What a training's workers leave behind."""

    info: dict[str, Any]  # the content of the result's marker
    node: str  # id of the node that has the trained weights, if they are exported later


class TrainWorker(NamedTuple):
    """One of the workers of a training."""

    rank: int  # rank among all workers
    local_rank: int  # rank among the workers of its node
    world_size: int  # number of workers
