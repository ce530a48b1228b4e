"""This machine's copies of folders: fetched once, whole or not at all, and bounded."""

import multiprocessing
import os
import shutil
import signal
import time
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from detox_ray.config import InputError
from detox_ray.storage import node_cache

MIB = b"x" * (1 << 20)
barrier: Barrier  # of the processes of a pool, which inherit it


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path))
    monkeypatch.setattr(node_cache, "_used", {})
    return tmp_path / "fetched"


def fetch(folder: Path) -> None:
    """Write two files, and note that it was done."""
    with (node_cache.cache_folder() / "fetches").open("a") as log:
        log.write("fetch\n")
    (folder / "part").mkdir()
    for name in ("config.json", "part/weights"):
        time.sleep(0.1)
        (folder / name).write_bytes(MIB)


def process(_: int) -> bytes:
    return (node_cache.fetched("model", 2 << 20, fetch) / "part" / "weights").read_bytes()


def fetch_and_die(folder: Path) -> None:
    (folder / "config.json").write_bytes(MIB)
    os.kill(os.getpid(), signal.SIGKILL)


def test_eight_processes_fetch_a_folder_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert set(pool.map(process, range(8), chunksize=1)) == {MIB}
    assert (tmp_path / "fetches").read_text() == "fetch\n"


def fetched_at_once(key: str) -> bool:
    """Wait until other processes are here, too, and fetch without any delay."""
    barrier.wait(timeout=60)
    return node_cache.fetched(key, 1, lambda folder: folder.mkdir(exist_ok=True)).exists()


def test_a_process_that_comes_during_a_fetch_does_not_wait_for_those_that_use_the_copy(cache: Path) -> None:
    global barrier
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(4)
    with fork.Pool(4) as pool:  # its processes use each copy until the pool ends
        for turn in range(50):
            assert pool.map_async(fetched_at_once, [f"model-{turn}"] * 4, chunksize=1).get(timeout=60) == [True] * 4


@pytest.mark.parametrize("when", ["before", "while it is fetched"])
def test_a_full_disk_names_what_helps_and_leaves_nothing(cache: Path, when: str) -> None:
    def fill(folder: Path) -> None:
        (folder / "config.json").write_bytes(MIB)
        raise OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")

    size = 1 << 60 if when == "before" else 1 << 20
    with pytest.raises(OSError, match=r"has no room for a model of .* GB .*: set DETOX_RAY_CACHE to a folder"):
        node_cache.fetched("model", size, fill)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_killed_fetch_leaves_nothing_that_counts(cache: Path) -> None:
    killed = multiprocessing.get_context("fork").Process(target=node_cache.fetched, args=("model", 1, fetch_and_die))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [".fetching-model"]
    node_cache.fetched("other", 1, fetch)
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["other"]
    assert process(0) == MIB


def test_the_longest_unused_copies_go_when_room_is_needed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", str(5 * len(MIB) / 1e9))
    with multiprocessing.get_context("fork").Pool(1) as pool:  # their user ends
        _fetch_in(pool, "old", "older")
    os.utime(cache / "older", (1, 1))
    os.utime(cache / "old", (2, 2))
    node_cache.fetched("new", 2 << 20, fetch)
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["new", "old"]


def test_a_copy_in_use_stays_though_it_is_too_large(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", "0.001")
    node_cache.fetched("mine", 2 << 20, fetch)
    node_cache.fetched("next", 2 << 20, fetch)
    assert {"mine", "next"} <= {path.name for path in cache.iterdir()}


def test_a_fetch_under_way_is_not_taken_for_an_unused_copy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", "0.001")

    def fetch_beside_another(folder: Path) -> None:
        fetch(folder)
        node_cache.fetched("other", 2 << 20, fetch)  # needs room, and finds this unfinished folder

    copy = node_cache.fetched("mine", 2 << 20, fetch_beside_another)
    assert (copy / "part" / "weights").read_bytes() == MIB


def test_a_removal_that_is_killed_leaves_no_part_of_a_copy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", "0.001")
    with multiprocessing.get_context("fork").Pool(1) as pool:  # its user ends
        _fetch_in(pool, "old")

    def killed(path: Path, ignore_errors: bool = False) -> None:
        (path / "config.json").unlink(missing_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        node_cache.fetched("new", 2 << 20, fetch)
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == [".fetching-old", "new"]
    assert (node_cache.fetched("old", 2 << 20, fetch) / "config.json").read_bytes() == MIB


def test_the_outline_of_a_model_takes_no_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", str(5 * len(MIB) / 1e9))

    def outline(folder: Path) -> None:
        with (folder / "model.safetensors").open("wb") as stream:
            stream.truncate(1 << 30)

    with multiprocessing.get_context("fork").Pool(1) as pool:  # its user ends
        _fetch_in(pool, "old")
    file = node_cache.fetched("outline", 0, outline) / "model.safetensors"
    if file.stat().st_blocks:
        pytest.skip("this file system has no files with holes")
    node_cache.fetched("new", 2 << 20, fetch)
    assert (cache / "old").is_dir()


def test_a_limit_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE_GB", "50GB")
    with pytest.raises(InputError, match="DETOX_RAY_CACHE_GB='50GB': must be a number of gigabytes"):
        node_cache.fetched("model", 1, fetch)


def _fetch_in(pool: Pool, *keys: str) -> None:
    for key in keys:
        pool.apply(_fetched, (key,))


def _fetched(key: str) -> None:
    node_cache.fetched(key, 2 << 20, fetch)
