"""Readers of the run's folder: beside a writer, in other processes, and with other tools."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from stored_generations import FRENCH, generations

from detox_ray.storage import Store, Superseded
from detox_ray.storage.tables import GENERATIONS


def test_a_reader_beside_a_writer_always_finds_the_unit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for speed
    store.commit(FRENCH, "a", generations("a"))
    flips, superseded = (500, 0) if store.is_local else (10, 0)

    def write() -> None:
        for number in range(flips):
            store.commit(FRENCH, "ba"[number % 2], generations("ba"[number % 2]))

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        looks = 0
        while not writer.done():
            found = Store(store.uri).committed(GENERATIONS)
            assert found.keys() == {FRENCH}
            looks += 1
            try:
                assert store.read(FRENCH, found[FRENCH])["text"].to_pylist() == [found[FRENCH]]
            except Superseded:
                superseded += 1
        writer.result()
    assert looks > superseded


def test_a_unit_that_was_replaced_and_came_back_meanwhile_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(FRENCH, "a", generations("a"))
    writer, rows = Store(store.uri), Store._rows
    missed = []

    def late(self: Store, path: str, table: str) -> pa.Table:
        if missed:
            return rows(self, path, table)
        writer.commit(FRENCH, "b", generations("b"))
        try:
            return rows(self, path, table)
        except FileNotFoundError:
            missed.append(path)
            writer.commit(FRENCH, "a", generations("a"))
            raise

    monkeypatch.setattr(Store, "_rows", late)
    assert store.read(FRENCH, "a")["text"].to_pylist() == ["a"]
    assert missed


def test_a_reader_that_comes_too_late_is_told_so(store: Store) -> None:
    store.commit(FRENCH, "a", generations("a"))
    store.commit(FRENCH, "b", generations("b"))
    for look in (store.read, store.info):
        with pytest.raises(Superseded, match=r"00000-a\.\w+ was replaced while it was read: .* under its new key b"):
            look(FRENCH, "a")


def test_read_all_keeps_the_order_of_units(store: Store) -> None:
    units = [GENERATIONS.unit(model="detox", language="fr", shard=shard) for shard in (2, 0, 1)]
    for unit in units:
        store.commit(unit, "k", generations(f"text {unit.shard}"))
    rows = store.read_all([(unit, "k") for unit in units], GENERATIONS)
    assert rows["text"].to_pylist() == ["text 2", "text 0", "text 1"]
    assert store.read_all([], GENERATIONS).schema.equals(GENERATIONS.columns)


def test_a_pickled_store_is_small_and_reads_the_same(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    assert pickle.loads(pickled).read(FRENCH, "k")["text"].to_pylist() == ["un"]


def test_arrow_reads_the_folder_as_hive_partitions(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    store.commit(GENERATIONS.unit(model="base", language="zh"), "k", generations("一", "二"))
    table = pads.dataset(store.path("generations"), filesystem=store.fs, partitioning="hive").to_table()
    found = sorted(zip(*(table[name].to_pylist() for name in ("model", "language", "text")), strict=True))
    assert found == [("base", "zh", "一"), ("base", "zh", "二"), ("detox", "fr", "un")]


@pytest.fixture
def local(tmp_path: Path) -> Store:
    store = Store.at(str(tmp_path / "mine"))
    store.commit(FRENCH, "k", generations("un", "deux"))
    store.commit(GENERATIONS.unit(model="base", language="zh", shard=3), "k", generations("一"))
    store.write_bytes(f"{FRENCH.folder}/.writing-x", b"half")
    return store


def test_duckdb_reads_the_folder_as_hive_partitions(local: Store) -> None:
    query = "select model, language, text from read_parquet(?, hive_partitioning=true) order by text"
    rows = duckdb.execute(query, [local.path("generations/**/*.parquet")]).fetchall()
    assert rows == [("detox", "fr", "deux"), ("detox", "fr", "un"), ("base", "zh", "一")]


def test_pandas_reads_the_folder_as_hive_partitions(local: Store) -> None:
    frame = pd.read_parquet(local.path("generations"))
    assert set(frame["model"]) == {"detox", "base"}
    assert sorted(frame["text"]) == ["deux", "un", "一"]


def test_folders_that_come_and_go_meanwhile_are_no_error(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    store.write_bytes("training/kept/file", b"1")
    folder = store.path("training/passing")
    code = "import os, sys\nwhile True:\n    os.mkdir(sys.argv[1])\n    os.rmdir(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, folder]) as other:
        try:
            while not os.path.exists(folder):
                assert other.poll() is None
            looks = [store.files("training/passing") + store.files("training") for _ in range(20_000)]
        finally:
            other.kill()
    assert looks == [["training/kept/file"]] * len(looks)
