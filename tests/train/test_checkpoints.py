"""A training resumes from the newest whole checkpoint, and removes what it leaves behind."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from detox_ray.cluster.ray_internals import CHECKPOINT_LIST
from detox_ray.storage import Store
from detox_ray.train import checkpoints
from detox_ray.train.checkpoints import WholeCheckpoint

FOLDER = "training/detox-0123456789abcdef"


def write(store: Store, second: int, step: int, world: int = 1, ranks: int = 1) -> Path:
    """A checkpoint as one node uploads it."""
    folder = Path(store.path(f"{FOLDER}/checkpoint_2026-11-21_08-00-{second:02d}.000001"))
    (folder / "global_step").mkdir(parents=True)
    (folder / "global_step" / "optimizer.pt").write_bytes(bytes(range(256)) * 40)
    (folder / "model.pt").write_bytes(b"weights" * 99)
    checkpoints.seal(folder, step, 0, ranks, world)
    return folder


def find(store: Store) -> tuple[WholeCheckpoint | None, list[str]]:
    warnings: list[str] = []
    return checkpoints.newest(store, FOLDER, warnings.append), warnings


def test_the_newest_whole_checkpoint_is_taken_in_silence(store: Store) -> None:
    assert find(store) == (None, [])
    write(store, 1, step=5)
    newest = write(store, 2, step=10)
    assert find(store) == (WholeCheckpoint(f"{FOLDER}/{newest.name}", 10, 1), [])


def _flip(folder: Path) -> None:
    file = folder / "global_step" / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)


def _truncate(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"weights")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, r"step 10\) is damaged, global_step/optimizer.pt is not as it was written"),
        (_truncate, r"model.pt is not as it was written \(7 bytes of 693\)"),
        (lambda folder: (folder / "model.pt").unlink(), "model.pt is missing"),
        (lambda folder: (folder / "sealed-by-0.json").unlink(), "was not finished"),
        (lambda folder: (folder / "sealed-by-0.json").write_text('{"step": 1'), "was not finished"),
    ],
)
def test_damaged_newest_is_passed_over_with_a_warning(
    store: Store, damage: Callable[[Path], object], said: str
) -> None:
    before = write(store, 1, step=5)
    damage(write(store, 2, step=10))
    found, warnings = find(store)
    assert found == WholeCheckpoint(f"{FOLDER}/{before.name}", 5, 1)
    assert len(warnings) == 1
    assert re.search(said, warnings[0])


def test_training_begins_from_the_start_if_none_is_whole(store: Store) -> None:
    for second in (1, 2):
        _truncate(write(store, second, step=second))
    found, warnings = find(store)
    assert found is None
    assert len(warnings) == 2


def test_checkpoint_without_the_part_of_every_node_was_not_finished(store: Store) -> None:
    folder = write(store, 1, step=5, world=3, ranks=2)
    assert find(store)[0] is None
    (folder / "third.pt").write_bytes(b"x")
    (folder / "sealed-by-2.json").write_text(
        json.dumps({"step": 5, "ranks": 1, "world": 3, "files": {"third.pt": [1, 2363233923]}})  # CRC-32 of "x"
    )
    assert find(store) == (WholeCheckpoint(f"{FOLDER}/{folder.name}", 5, 3), [])


class TestRaysOwnList:
    def write(self, store: Store, content: object) -> None:
        store.write_json(f"{FOLDER}/{CHECKPOINT_LIST}", content)

    def content(self, *names: str, version: str = ray.__version__) -> dict[str, object]:
        return {"ray_version": version, "checkpoint_results": [{"checkpoint_dir_name": name} for name in names]}

    def test_sound_list_stays(self, store: Store) -> None:
        assert checkpoints.remove_unusable_list(store, FOLDER) is None
        self.write(store, self.content(write(store, 1, step=5).name))
        assert checkpoints.remove_unusable_list(store, FOLDER) is None
        assert store.exists(f"{FOLDER}/{CHECKPOINT_LIST}")

    def test_list_with_which_ray_would_not_start_goes(self, store: Store) -> None:
        contents = {
            "lists checkpoint_gone": self.content("checkpoint_gone"),
            "is of Ray 1.2.3": self.content(version="1.2.3"),
            "cannot be read": {"ray_version": ray.__version__},
        }
        for said, content in contents.items():
            self.write(store, content)
            assert said in (checkpoints.remove_unusable_list(store, FOLDER) or "")
            assert not store.exists(f"{FOLDER}/{CHECKPOINT_LIST}")
        store.write_bytes(f"{FOLDER}/{CHECKPOINT_LIST}", b'{"ray_ver')
        assert "cannot be read" in (checkpoints.remove_unusable_list(store, FOLDER) or "")


def test_leftovers_are_those_of_this_model_under_other_keys(store: Store) -> None:
    assert checkpoints.leftovers(store, "detox", "0" * 16) == []
    for folder in ("detox-" + "0" * 16, "detox-" + "1" * 16, "detox-x-" + "1" * 16, "detox-seed1", "other-" + "1" * 16):
        store.write_bytes(f"training/{folder}/file", b"")
    assert checkpoints.leftovers(store, "detox", "0" * 16) == ["training/detox-" + "1" * 16]
    assert checkpoints.leftovers(store, "detox-x", "0" * 16) == ["training/detox-x-" + "1" * 16]
