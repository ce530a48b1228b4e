"""A training survives the loss of a node, and with it of the newest checkpoint."""

from pathlib import Path

import pytest
from alone import train_alone
from lost_node import lost_node
from small_training import commit_pairs, train_config

from detox_ray import train
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.train.training_job import TrainingJob

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_run_that_loses_a_node_and_its_newest_checkpoint_ends_as_an_undisturbed_one(
    tmp_path: Path, parent: LoadableModel
) -> None:
    config = train_config(max_steps=20, checkpoint_every=3, keep="last", placement="STRICT_SPREAD", learning_rate=3e-4)
    jobs = []
    for name in ("undisturbed", "disturbed"):
        store = Store.at(str(tmp_path / name))
        rows = commit_pairs(store)
        key = train.key(config, parent.key, rows[1], 0)
        jobs.append(TrainingJob("detox", key, config, parent, rows, 0, store, gpu=False))
    (undisturbed,) = train_alone(jobs[:1], world=2)
    assert isinstance(undisturbed, dict), undisturbed

    info = lost_node(jobs[1], tmp_path)
    assert info["restarts"] == 1
    assert any(info["damaged"] in warning and "damaged" in warning for warning in info["warnings"])
    assert info["log"] == undisturbed["log"]
    assert len(info["log"]) == 20
