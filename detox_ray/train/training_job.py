"""One training as every worker gets it, and a worker's rank among the others."""

import getpass
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit, key_of

BEST_STEP = "best_step"  # metric of a checkpoint: its step if it is the best so far, else 0


class TrainingJob(NamedTuple):
    """All that a worker needs to know of one training."""

    name: str  # the model's, in the experiment
    key: str  # the result's
    config: TrainConfig
    parent: LoadableModel
    rows: tuple[Unit, str]  # the committed unit of PAIRS, or of TEXTS, that the model learns from, and its key
    seed: int  # the train block's, or else the experiment's
    store: Store
    gpu: bool  # whether workers compute on GPUs
    node: int = 0  # this worker's, as Ray Train numbers them; several may be on one machine

    @property
    def folder(self) -> str:
        """The store's folder that holds Ray Train's state until the result is committed."""
        return f"training/{self.name}-{self.key}"

    @property
    def scratch(self) -> Path:
        """This node's local folder for files on their way to the store. A later call finds it again and clears it.

        It is in $DETOX_RAY_SCRATCH of the node's environment, else in the system's temporary folder.
        """
        identity = key_of(store=self.store.uri, name=self.name, key=self.key, node=self.node, user=getpass.getuser())
        return Path(os.environ.get("DETOX_RAY_SCRATCH") or tempfile.gettempdir()) / f"detox-ray-training-{identity}"


class TrainWorker(NamedTuple):
    """One of the workers of a training."""

    rank: int  # among all workers
    local_rank: int  # among the workers of its node
    world_size: int  # number of workers
