"""The reference's log-probabilities are kept by everything that changes them, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from small_training import train_config

from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import PAIRS
from detox_ray.train import reference_logps
from detox_ray.train.training_job import TrainingJob

ROWS = [
    {"pair_id": "p0", "prompt_ids": [5, 6], "chosen_ids": [7, 2], "rejected_ids": [8, 9, 2]},
    {"pair_id": "p1", "prompt_ids": [5], "chosen_ids": [3, 2], "rejected_ids": [4, 2]},
]


def job(parent: LoadableModel, folder: Path, seed: int = 0, **changes: Any) -> TrainingJob:
    return TrainingJob(
        "detox", "k", train_config(**changes), parent, (PAIRS.unit(), "0"), seed, Store.at(str(folder)), False
    )


def test_seeds_sweeps_and_the_order_of_rows_share_one_address(parent: LoadableModel, tmp_path: Path) -> None:
    here = reference_logps.address(job(parent, tmp_path), ROWS)
    for other in (
        job(parent, tmp_path, seed=3),
        job(parent, tmp_path, learning_rate=1e-4, beta=0.3, epochs=2, batch_size=2),
        job(parent, tmp_path, tuning="lora"),
        job(parent, tmp_path, deepspeed="zero3", batch_tokens=4096),
    ):
        assert reference_logps.address(other, ROWS) == here
    assert reference_logps.address(job(parent, tmp_path), ROWS[::-1]) == here
    assert (here[0]["model"], here[0]["settings"]) == ("base", here[1])


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        [ROWS[0], {**ROWS[1], "pair_id": "p2"}],
        [ROWS[0], {**ROWS[1], "prompt_ids": [6]}],
        [ROWS[0], {**ROWS[1], "rejected_ids": [4, 4, 2]}],
        [ROWS[0], {**ROWS[1], "chosen_ids": ROWS[1]["rejected_ids"], "rejected_ids": ROWS[1]["chosen_ids"]}],
    ],
)
def test_other_tokens_have_another_address(rows: list[dict[str, Any]], parent: LoadableModel, tmp_path: Path) -> None:
    plain = job(parent, tmp_path)
    assert reference_logps.address(plain, rows)[1] != reference_logps.address(plain, ROWS)[1]


def test_another_parent_or_precision_has_another_address(parent: LoadableModel, tmp_path: Path) -> None:
    plain = job(parent, tmp_path)
    others = [
        plain._replace(parent=parent._replace(key="other")),
        job(parent, tmp_path, dtype="bfloat16"),
        job(parent, tmp_path, autocast="bfloat16"),
        job(parent, tmp_path, tuning="qlora"),
    ]
    keys = {reference_logps.address(one, ROWS)[1] for one in [plain, *others]}
    assert len(keys) == 5


def test_length_is_of_prompt_and_longer_completion() -> None:
    assert [reference_logps.length(row) for row in ROWS] == [5, 3]
