"""A training resumes from the newest whole checkpoint, and removes what it leaves behind."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow.fs as pafs
import pytest
import ray
from small_training import train_config

from detox_ray.cluster.ray_internals import CHECKPOINT_LIST
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import PAIRS
from detox_ray.train import checkpoint_files, checkpoints
from detox_ray.train.checkpoints import Checkpoint
from detox_ray.train.training_job import TrainingJob, TrainWorker

T = TypeVar("T")
KEY = "0123456789abcdef"
FOLDER = f"training/detox-{KEY}"
DISK_FULL = 28


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_SCRATCH", str(tmp_path))


class ObjectStore(Store):
    """A store that is read like a bucket, and counts the bytes that are read of each file."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.read: Counter[str] = Counter()
        self.unreadable = ""  # the name of a file that raises when it is read
        self.fs = cast(Any, CountedReads(self))

    @property
    def is_local(self) -> bool:
        return False


class CountedReads:
    """The local filesystem, with counted reads."""

    def __init__(self, store: ObjectStore):
        self._store, self._fs = store, pafs.LocalFileSystem()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def open_input_stream(self, path: str) -> Any:
        store, stream = self._store, self._fs.open_input_stream(path)

        class Stream:
            def __enter__(self) -> "Stream":
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def read(self, count: int | None = None) -> bytes:
                if path.endswith(store.unreadable or "/"):
                    raise OSError("connection reset")
                block: bytes = stream.read(count)
                store.read[path.removeprefix(store.path(FOLDER) + "/").partition("/")[2]] += len(block)
                return block

        return Stream()


class ThreadPeers:
    """Workers that are threads of this process."""

    def __init__(self, rank: int, barrier: threading.Barrier, values: list[Any]):
        self._rank, self._barrier, self._values = rank, barrier, values

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def gather(self, value: T) -> list[T]:
        self._values[self._rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values


def write(store: Store, second: int, step: int, world: int = 1, ranks: int = 1) -> Path:
    """A checkpoint as one node uploads it."""
    local = Path(store.path(f"local-{second}"))
    (local / "global_step").mkdir(parents=True)
    (local / "global_step" / "optimizer.pt").write_bytes(bytes(range(256)) * 40)
    (local / "model.pt").write_bytes(b"weights" * 99)
    name = f"checkpoint_2026-11-21_08-00-{second:02d}.000001"
    checkpoint_files.upload(local, store, f"{FOLDER}/{name}", step, 0, ranks, world)
    return Path(store.path(f"{FOLDER}/{name}"))


def find_on(
    store: Store, nodes: list[int], step: int | None = None
) -> tuple[list[checkpoints.LocalCheckpoint | None], list[str]]:
    """Let one worker for each entry of ``nodes``, the number of its node, look for the newest checkpoint."""
    barrier, values = threading.Barrier(len(nodes), timeout=20), [None] * len(nodes)
    warnings: list[str] = []
    config, rows = train_config(), (PAIRS.unit(), "0" * 16)

    def look(rank: int) -> checkpoints.LocalCheckpoint | None:
        job = TrainingJob("detox", KEY, config, cast(LoadableModel, None), rows, 0, store, False, nodes[rank])
        worker = TrainWorker(rank, nodes[:rank].count(nodes[rank]), len(nodes))
        try:
            return checkpoints.newest(job, worker, ThreadPeers(rank, barrier, values), warnings.append, step)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(look, range(len(nodes)))), warnings


def find(store: Store, step: int | None = None) -> tuple[Checkpoint | None, list[str]]:
    (found,), warnings = find_on(store, [0], step)
    return found and found.checkpoint, warnings


def test_the_newest_whole_checkpoint_is_taken_in_silence(store: Store) -> None:
    store.write_json(f"{FOLDER}/{CHECKPOINT_LIST}", {})  # a file beside the checkpoints, with a similar name
    assert find(store) == (None, [])
    write(store, 1, step=5)
    newest = write(store, 2, step=10)
    assert find(store) == (Checkpoint(f"{FOLDER}/{newest.name}", 10), [])
    assert find(store, step=7) == (None, [])


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
    assert found == Checkpoint(f"{FOLDER}/{before.name}", 5)
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
    assert find(store) == (Checkpoint(f"{FOLDER}/{folder.name}", 5), [])


def shards(store: Store, second: int, nodes: list[int]) -> tuple[str, Counter[str]]:
    """Write a checkpoint of ZeRO-3. Return its folder, and the bytes of each of its files."""
    folder, sizes = f"{FOLDER}/checkpoint_2026-11-21_08-00-{second:02d}.000001", Counter[str]()
    for node in sorted(set(nodes)):
        local = Path(store.path(f"local-{second}-{node}"))
        (local / "global_step3").mkdir(parents=True)
        ranks = [rank for rank, other in enumerate(nodes) if other == node]
        files = {"trainer_state.json": 300, "latest": 12} if node == 0 else {}
        for rank in ranks:
            files |= {
                f"rng_state_{rank}.pth": 50,
                f"global_step3/zero_pp_rank_{rank}_mp_rank_00_model_states.pt": 2000 + rank,
                f"global_step3/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt": 12_000 + rank,
            }
        for name, size in files.items():
            (local / name).write_bytes(bytes([second]) * size)
        sizes.update(files)
        checkpoint_files.upload(local, store, folder, second, ranks[0], len(ranks), len(nodes))
    return folder, sizes


FOUR_NODES = [node for node in range(4) for _ in range(8)]


def test_four_nodes_read_a_sharded_checkpoint_once_and_each_gets_its_own_files(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    folder, sizes = shards(store, 1, FOUR_NODES)
    found, warnings = find_on(store, FOUR_NODES)
    assert warnings == []
    assert all(each is not None and each.checkpoint == Checkpoint(folder, 1) for each in found)
    read = Counter({file: count for file, count in store.read.items() if file in sizes})
    assert all(count == sizes[file] for file, count in read.items() if "rank" in file)
    assert sizes.total() <= read.total() <= 1.1 * sizes.total()
    last = cast(checkpoints.LocalCheckpoint, found[31]).folder
    names = {path.relative_to(last).as_posix() for path in last.rglob("*") if path.is_file()}
    shared = {"trainer_state.json", "latest"}
    assert names - shared == {file for file in sizes if re.search(r"rank_(2[4-9]|3[01])_|_(2[4-9]|3[01])\.pth", file)}
    assert all((last / name).read_bytes() == bytes([1]) * sizes[name] for name in names)
    assert last.stat().st_mode & 0o777 == 0o700


def test_storage_that_is_a_folder_is_not_copied(store: Store) -> None:
    folder, _ = shards(store, 1, [0, 1])
    found, _ = find_on(store, [0, 1])
    assert [each and each.folder for each in found] == [Path(store.path(folder))] * 2


def test_damage_that_one_node_sees_makes_all_nodes_go_back(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    before, _ = shards(store, 1, FOUR_NODES)
    newest, _ = shards(store, 2, FOUR_NODES)
    shard = Path(store.path(newest)) / "global_step3" / "bf16_zero_pp_rank_19_mp_rank_00_optim_states.pt"
    shard.write_bytes(shard.read_bytes()[:-1])
    found, warnings = find_on(store, FOUR_NODES)
    assert {each and each.checkpoint for each in found} == {Checkpoint(before, 1)}
    assert len(warnings) == 1 and f"{shard.name} is not as it was written (12018 bytes of 12019)" in warnings[0]
    folder = cast(checkpoints.LocalCheckpoint, found[19]).folder
    assert {byte for file in folder.rglob("*.pt") for byte in file.read_bytes()} == {1}  # none of the damaged one


def test_world_of_another_size_gets_all_files(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    _, sizes = shards(store, 1, [0, 0, 1, 1])
    found, _ = find_on(store, [0, 0, 1])
    for each in found:
        assert each is not None
        files = {path.relative_to(each.folder).as_posix() for path in each.folder.rglob("*") if path.is_file()}
        assert files == sizes.keys()


def test_file_that_cannot_be_read_is_damage_but_a_full_local_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(str(tmp_path / "store"))
    before, _ = shards(store, 1, [0, 1])
    newest, _ = shards(store, 2, [0, 1])
    store.unreadable = f"{newest}/rng_state_1.pth"
    found, warnings = find_on(store, [0, 1])
    assert {each and each.checkpoint for each in found} == {Checkpoint(before, 1)}
    assert "rng_state_1.pth cannot be read (connection reset)" in warnings[0]

    opened = Path.open

    def full(path: Path, mode: str = "r", *others: Any, **more: Any) -> Any:
        if mode == "wb":
            raise OSError(DISK_FULL, "No space left on device")
        return opened(path, mode, *others, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        find_on(store, [0])


def test_upload_that_is_killed_leaves_an_unfinished_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seal is written after the last file, so without it nobody reads what has arrived."""
    before = write(store, 1, step=5)
    arrived: list[list[str]] = []

    def killed(self: Store, relative: str, value: object) -> None:
        arrived.append(store.files(relative.rpartition("/")[0]))
        raise ConnectionError("the node is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_json", killed)
        with pytest.raises(ConnectionError):
            write(store, 2, step=10)
    assert [file.rpartition("/")[2] for file in arrived[0]] == ["optimizer.pt", "model.pt"]
    found, warnings = find(store)
    assert found == Checkpoint(f"{FOLDER}/{before.name}", 5)
    assert len(warnings) == 1 and "was not finished" in warnings[0]


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
