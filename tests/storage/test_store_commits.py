"""Commits to the run's folder: keys, replacement, and what a killed writer leaves."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from stored_generations import FRENCH, generations

from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS, GENERATIONS


class Closed:
    """The fence of a run that lost its folder."""

    def check(self) -> None:
        raise PermissionError


def test_a_committed_unit_is_found_under_its_key_and_reads_back(store: Store) -> None:
    rows = generations("un", "deux\u2028", "")
    store.commit(FRENCH, "k1", rows, {"engine": "vllm"})
    assert store.committed(GENERATIONS) == {FRENCH: "k1"}
    assert store.read(FRENCH, "k1").equals(rows)
    assert store.info(FRENCH, "k1") == {"rows": 3, "engine": "vllm"}


def test_nothing_is_committed_in_an_empty_folder(store: Store) -> None:
    assert store.committed(GENERATIONS) == {}
    assert store.files("generations") == []
    assert not store.exists("generations")


def test_shards_and_partitions_are_units_of_their_own(store: Store) -> None:
    units = [
        GENERATIONS.unit(model=m, language=lang, shard=shard)
        for m in ("a", "b")
        for lang in ("fr", "zh")
        for shard in (0, 1)
    ]
    for unit in units:
        store.commit(unit, "k", generations("x"))
    store.retract(GENERATIONS.unit(model="a", language="fr", shard=1))
    assert set(store.committed(GENERATIONS)) == set(units) - {GENERATIONS.unit(model="a", language="fr", shard=1)}


def test_recommitting_under_a_new_key_replaces_the_rows(store: Store) -> None:
    store.commit(FRENCH, "old", generations("un", "deux"))
    store.commit(FRENCH, "new", generations("trois"))
    assert store.committed(GENERATIONS) == {FRENCH: "new"}
    assert [name for name in store.files("generations") if "old" in name] == []
    assert store.read(FRENCH, "new")["text"].to_pylist() == ["trois"]


def test_killed_between_part_and_marker_leaves_the_unit_undone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            store.commit(FRENCH, "k1", generations("half"))
    assert len(store.files("generations")) == 1
    assert store.committed(GENERATIONS) == {}
    store.commit(FRENCH, "k2", generations("whole"))
    assert store.committed(GENERATIONS) == {FRENCH: "k2"}
    assert len(store.files("generations")) == 1  # whoever reads the folder finds each row once


def test_killed_while_replacing_leaves_the_unit_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(FRENCH, "old", generations("un"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            store.commit(FRENCH, "new", generations("deux"))
    assert store.committed(GENERATIONS) == {FRENCH: "old"}
    assert store.read(FRENCH, "old")["text"].to_pylist() == ["un"]


def test_killed_before_the_old_one_goes_the_new_one_counts_and_tidy_removes_the_old(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for old, new in (("b", "a"), ("a", "b"), ("b", "c")):
        store.commit(FRENCH, old, generations(old))
        with monkeypatch.context() as patch:
            patch.setattr(Store, "delete", killed)
            with pytest.raises(KeyboardInterrupt):
                store.commit(FRENCH, new, generations(new))
        assert len(store.files("generations")) == 2
        assert store.committed(GENERATIONS) == {FRENCH: new}
    store.write_bytes("generations/notes.txt", b"a person's own file")
    store.tidy()
    assert store.files("generations") == [f"{FRENCH.stem('c')}.parquet", "generations/notes.txt"]
    assert store.committed(GENERATIONS) == {FRENCH: "c"}
    assert store.info(FRENCH, "c") == {"rows": 1}


def test_committing_under_the_same_key_does_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(FRENCH, "k", generations("un"), {"seconds": 1})
    with monkeypatch.context() as patch:
        for name in ("write_bytes", "delete"):
            patch.setattr(Store, name, lambda *_: pytest.fail("nothing is to be touched"))
        store.commit(FRENCH, "k", generations("deux"), {"seconds": 2})
    assert store.info(FRENCH, "k") == {"rows": 1, "seconds": 1}
    store.retract(FRENCH)
    store.commit(FRENCH, "k", generations("deux"))
    assert store.read(FRENCH, "k")["text"].to_pylist() == ["deux"]
    store.delete(f"{FRENCH.stem('k')}.parquet")
    store.commit(FRENCH, "k", generations("trois"))
    assert store.read(FRENCH, "k")["text"].to_pylist() == ["trois"]


def test_files_that_a_killed_writer_left_are_never_counted(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    for folder in (f"commits/{FRENCH.folder}", FRENCH.folder):
        store.write_bytes(f"{folder}/.writing-a1b2c3", b"half")
    assert store.committed(GENERATIONS) == {FRENCH: "k"}
    assert [name for name in store.files("") if ".writing-" in name] == []


def test_columns_are_put_in_the_schemas_order_and_types(store: Store) -> None:
    rows = generations("un").append_column("language", [["fr"]])
    rows = rows.select(["language", *GENERATIONS.columns.names[::-1]])
    store.commit(FRENCH, "k", rows.set_column(3, "tokens", pa.array([3], pa.int64())))
    assert store.read(FRENCH, "k").schema.equals(GENERATIONS.columns)


def test_units_without_rows_are_marked_only(store: Store) -> None:
    unit = CHECKPOINTS.unit(model="detox")
    store.commit(unit, "k", None, {"steps": 60})
    assert store.committed(CHECKPOINTS) == {unit: "k"}
    assert store.info(unit, "k") == {"rows": 0, "steps": 60}


def test_retracting_a_marked_folder_leaves_its_files(store: Store) -> None:
    unit = CHECKPOINTS.unit(model="detox")
    store.write_bytes("checkpoints/detox/model.safetensors", b"weights")
    store.commit(unit, "k", None)
    store.retract(unit)
    assert store.committed(CHECKPOINTS) == {}
    assert store.read_bytes("checkpoints/detox/model.safetensors") == b"weights"


def test_nothing_is_written_past_a_fence(store: Store) -> None:
    store.commit(FRENCH, "old", generations("un"))
    before = store.files("")
    fenced = Store(store.uri, Closed())
    for write in (
        lambda: fenced.commit(FRENCH, "new", generations("deux")),
        lambda: fenced.retract(FRENCH),
        lambda: fenced.write_json("manifest.json", {}),
        lambda: fenced.upload(Path(__file__).parent, "checkpoints/detox"),
    ):
        with pytest.raises(PermissionError):
            write()
    assert store.files("") == before
    assert isinstance(pickle.loads(pickle.dumps(fenced)).fence, Closed)
