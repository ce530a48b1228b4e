"""One training as every worker gets it, and the worker's place among the others."""

import getpass
import tempfile
from pathlib import Path
from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit, key_of

BEST_STEP = "best_step"  # what a checkpoint reports: its step where it is the best so far, else 0


class TrainingJob(NamedTuple):
    """One training, as every worker gets it."""

    name: str  # of the model in the experiment
    key: str
    config: TrainConfig
    parent: LoadableModel
    rows: tuple[Unit, str]  # the committed unit of PAIRS, or of TEXTS, that it learns from, and its key
    seed: int  # the effective one
    store: Store
    gpu: bool
    node: int = 0  # on which this worker is, counted by Ray Train; several may be one machine

    @property
    def folder(self) -> str:
        """In the store: Ray Train's state, until the result is committed."""
        return f"training/{self.name}-{self.key}"

    @property
    def scratch(self) -> Path:
        """Local folder of this node for what is on its way to the store. The next call finds it again and clears it."""
        who = key_of(store=self.store.uri, name=self.name, key=self.key, node=self.node, user=getpass.getuser())
        return Path(tempfile.gettempdir()) / f"detox-ray-training-{who}"


class WorkerRank(NamedTuple):
    """Of one worker."""

    rank: int
    local_rank: int  # on its node
    world: int
