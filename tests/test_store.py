"""The run's folder, on a local disk and on a real S3 API server: commits, crashes, damage, keys, and other readers."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from detox_ray.storage import Store, StoreError, Superseded, Unit, define, key_of
from detox_ray.storage.lock import run_lock
from detox_ray.storage.markers import FluencyMarker, ScoreMarker
from detox_ray.storage.tables import CHECKPOINTS, GENERATIONS, SCORES

FRENCH = GENERATIONS.unit(model="detox", language="fr")


def generations(*texts: str, first: int = 0) -> pa.Table:
    rows = [
        {"prompt_id": f"fr-{i:05d}", "sample": 0, "text": text, "tokens": 3, "finish_reason": "stop", "seed": i}
        for i, text in enumerate(texts, first)
    ]
    return pa.Table.from_pylist(rows, GENERATIONS.columns)


class Closed:
    """The fence of a run that lost its folder."""

    def check(self) -> None:
        raise PermissionError


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    if request.param == "local":
        return Store.at(str(tmp_path / "runs" / "mine"))
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    endpoint = request.getfixturevalue("s3_endpoint")
    return Store.at(f"s3://bucket/{tmp_path.name}/mine?endpoint_override={endpoint}&scheme=http&region=us-east-1")


class TestOnBothFilesystems:
    def test_the_name_is_a_folder_under_the_storage(self, store: Store) -> None:
        assert store.path().endswith("/mine")
        assert store.path("a/b").endswith("/mine/a/b")
        assert store.is_local != store.uri.startswith("s3://")

    def test_a_committed_unit_is_found_under_its_key_and_reads_back(self, store: Store) -> None:
        rows = generations("un", "deux\u2028", "")
        store.commit(FRENCH, "k1", rows, {"engine": "vllm"})
        assert store.committed(GENERATIONS) == {FRENCH: "k1"}
        assert store.read(FRENCH, "k1").equals(rows)
        assert store.info(FRENCH, "k1") == {"rows": 3, "engine": "vllm"}

    def test_nothing_is_committed_in_an_empty_folder(self, store: Store) -> None:
        assert store.committed(GENERATIONS) == {}
        assert store.files("generations") == []
        assert not store.exists("generations")

    def test_shards_and_partitions_are_units_of_their_own(self, store: Store) -> None:
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

    def test_recommitting_under_a_new_key_replaces_the_rows(self, store: Store) -> None:
        store.commit(FRENCH, "old", generations("un", "deux"))
        store.commit(FRENCH, "new", generations("trois"))
        assert store.committed(GENERATIONS) == {FRENCH: "new"}
        assert [name for name in store.files("generations") if "old" in name] == []
        assert store.read(FRENCH, "new")["text"].to_pylist() == ["trois"]

    def test_killed_between_part_and_marker_leaves_the_unit_undone(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

    def test_killed_while_replacing_leaves_the_unit_as_it_was(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
        self, store: Store, monkeypatch: pytest.MonkeyPatch
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

    def test_committing_under_the_same_key_does_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_a_reader_beside_a_writer_always_finds_the_unit(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
        self, store: Store, monkeypatch: pytest.MonkeyPatch
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

    def test_a_reader_that_comes_too_late_is_told_so(self, store: Store) -> None:
        store.commit(FRENCH, "a", generations("a"))
        store.commit(FRENCH, "b", generations("b"))
        for look in (store.read, store.info):
            with pytest.raises(Superseded, match=r"00000-a\.\w+ was replaced while it was read: look again \(now b\)"):
                look(FRENCH, "a")

    def test_nothing_is_written_past_a_fence(self, store: Store) -> None:
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

    def test_what_is_written_is_what_is_stored(self, store: Store) -> None:
        odd = Store(store.location.child("a b%20+ü#1;[x]{y}*'").child("?/~").uri)
        odd.commit(FRENCH, "k", generations("un"))
        assert odd.check_writable() is None
        with run_lock(odd):
            assert Store(odd.uri).committed(GENERATIONS) == {FRENCH: "k"}
        folders = odd.fs.get_file_info(pafs.FileSelector(store.path()))
        assert [info.base_name for info in folders] == ["a b%20+ü#1;[x]{y}*'"]

    def test_a_marker_without_its_part_counts_for_nothing(self, store: Store) -> None:
        store.commit(FRENCH, "k", generations("un"))
        store.delete(f"{FRENCH.stem('k')}.parquet")
        assert store.committed(GENERATIONS) == {}

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all, but long enough to have a footer PAR1"])
    def test_a_damaged_part_is_an_error_that_names_the_file(self, store: Store, content: bytes) -> None:
        store.commit(FRENCH, "k", generations("un"))
        store.write_bytes(f"{FRENCH.stem('k')}.parquet", content)
        with pytest.raises(StoreError, match=r"00000-k\.parquet cannot be read .*delete it and run again"):
            store.read(FRENCH, "k")

    def test_a_part_of_another_schema_is_an_error(self, store: Store) -> None:
        store.commit(FRENCH, "k", generations("un"))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"prompt_id": ["x"]}), sink)
        store.write_bytes(f"{FRENCH.stem('k')}.parquet", sink.getvalue().to_pybytes())
        with pytest.raises(StoreError, match="cannot be read"):
            store.read(FRENCH, "k")

    def test_a_damaged_marker_is_an_error_that_names_the_file(self, store: Store) -> None:
        store.commit(FRENCH, "k", generations("un"))
        store.write_bytes(f"commits/{FRENCH.stem('k')}.json", b'{"rows": ')
        with pytest.raises(StoreError, match=r"00000-k\.json is damaged"):
            store.info(FRENCH, "k")

    def test_a_missing_part_is_an_error_that_names_the_file(self, store: Store) -> None:
        with pytest.raises(StoreError, match=r"00000-k\.parquet cannot be read"):
            store.read(FRENCH, "k")

    def test_files_that_a_killed_writer_left_are_never_counted(self, store: Store) -> None:
        store.commit(FRENCH, "k", generations("un"))
        for folder in (f"commits/{FRENCH.folder}", FRENCH.folder):
            store.write_bytes(f"{folder}/.writing-a1b2c3", b"half")
        assert store.committed(GENERATIONS) == {FRENCH: "k"}
        assert [name for name in store.files("") if ".writing-" in name] == []

    def test_columns_are_put_in_the_schemas_order_and_types(self, store: Store) -> None:
        rows = generations("un").append_column("language", [["fr"]])
        rows = rows.select(["language", *GENERATIONS.columns.names[::-1]])
        store.commit(FRENCH, "k", rows.set_column(3, "tokens", pa.array([3], pa.int64())))
        assert store.read(FRENCH, "k").schema.equals(GENERATIONS.columns)

    def test_units_without_rows_are_marked_only(self, store: Store) -> None:
        unit = CHECKPOINTS.unit(model="detox")
        store.commit(unit, "k", None, {"steps": 60})
        assert store.committed(CHECKPOINTS) == {unit: "k"}
        assert store.info(unit, "k") == {"rows": 0, "steps": 60}

    def test_retracting_a_marked_folder_leaves_its_files(self, store: Store) -> None:
        unit = CHECKPOINTS.unit(model="detox")
        store.write_bytes("checkpoints/detox/model.safetensors", b"weights")
        store.commit(unit, "k", None)
        store.retract(unit)
        assert store.committed(CHECKPOINTS) == {}
        assert store.read_bytes("checkpoints/detox/model.safetensors") == b"weights"

    def test_read_all_keeps_the_order_of_units(self, store: Store) -> None:
        units = [GENERATIONS.unit(model="detox", language="fr", shard=shard) for shard in (2, 0, 1)]
        for unit in units:
            store.commit(unit, "k", generations(f"text {unit.shard}"))
        rows = store.read_all([(unit, "k") for unit in units], GENERATIONS)
        assert rows["text"].to_pylist() == ["text 2", "text 0", "text 1"]
        assert store.read_all([], GENERATIONS).schema.equals(GENERATIONS.columns)

    def test_a_pickled_store_is_small_and_reads_the_same(self, store: Store) -> None:
        store.commit(FRENCH, "k", generations("un"))
        pickled = pickle.dumps(store)
        assert len(pickled) < 500
        assert pickle.loads(pickled).read(FRENCH, "k")["text"].to_pylist() == ["un"]

    def test_json_keeps_every_script_and_refuses_nan(self, store: Store) -> None:
        store.write_json("a/b.json", {"text": "猫 قطة 😀"})
        assert store.read_json("a/b.json") == {"text": "猫 قطة 😀"}
        with pytest.raises(ValueError, match="JSON compliant"):
            store.write_json("a/b.json", {"value": float("nan")})
        assert store.read_json("a/b.json") == {"text": "猫 قطة 😀"}

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        store.delete("absent.json")

    def test_a_missing_file_is_a_file_not_found_error(self, store: Store) -> None:
        with pytest.raises(FileNotFoundError):
            store.read_json("absent.json")

    def test_an_uploaded_folder_comes_back_whole_and_an_upload_replaces_it(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "model"
        (source / "adapter").mkdir(parents=True)
        (source / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
        (source / "adapter" / "config.json").write_text("{}")
        store.upload(source, "checkpoints/detox")
        local = store.localize("checkpoints/detox")
        assert (local / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
        assert (local / "adapter" / "config.json").read_text() == "{}"
        (source / "model.safetensors").write_bytes(b"other")
        (source / "adapter" / "config.json").unlink()
        store.upload(source, "checkpoints/detox")
        again = store.localize("checkpoints/detox")
        assert (again / "model.safetensors").read_bytes() == b"other"
        assert not (again / "adapter" / "config.json").exists()

    def test_an_unchanged_folder_is_fetched_once(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "model"
        source.mkdir()
        (source / "weights").write_bytes(b"w")
        store.upload(source, "checkpoints/detox")
        first = store.localize("checkpoints/detox")
        before = (first / "weights").stat().st_mtime_ns
        assert store.localize("checkpoints/detox") == first
        assert (first / "weights").stat().st_mtime_ns == before

    def test_a_writable_folder_is_told_from_one_that_is_not(self, store: Store) -> None:
        assert store.check_writable() is None
        assert store.files("") == []  # and the probe left nothing

    def test_arrow_reads_the_folder_as_hive_partitions(self, store: Store) -> None:
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


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("a.json", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_bytes("a.json", b"new")
    assert store.read_bytes("a.json") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_storage_that_is_a_file_or_read_only_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Store.at(str(tmp_path / "file" / "mine")).check_writable() is not None
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o555)
        assert Store.at(str(tmp_path / "locked" / "mine")).check_writable() is not None


def test_checking_a_local_folder_does_not_make_it(tmp_path: Path) -> None:
    assert Store.at(str(tmp_path / "runs" / "mine")).check_writable() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ("nowhere", "there is no bucket 'nowhere'"),
        ("ignores-conditions", "no conditional writes"),
        ("refuses-conditions", "no conditional writes"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_said_to_be_so(
    bucket: str, words: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    uri = f"s3://{bucket}/mine?endpoint_override={s3_endpoint}&scheme=http&region=us-east-1"
    assert words in (Store.at(uri).check_writable() or "")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_a_folder_that_root_may_make_and_cannot_is_said_to_be_so() -> None:
    assert "/proc/none cannot be made" in (Store.at("/proc/none/mine").check_writable() or "")


def test_a_name_that_is_too_long_is_said_to_be_so(tmp_path: Path) -> None:
    assert "too long" in (Store.at(str(tmp_path / ("x" * 300))).check_writable() or "")


def test_a_disk_that_is_full_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in (Store.at(str(tmp_path / "runs" / "mine")).check_writable() or "")
    assert list(tmp_path.iterdir()) == []


def test_checks_of_one_folder_at_once_do_not_disturb_each_other_or_a_writer(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "runs" / "mine"))
    with ThreadPoolExecutor(8) as pool:
        checks = [pool.submit(store.check_writable) for _ in range(400)]
        writes = [pool.submit(store.write_bytes, f"{number}/file", b"1") for number in range(50)]
        assert {check.result() for check in checks} == {None}
        for write in writes:
            write.result()
    assert len(store.files("")) == 50


def test_a_marker_says_what_its_kind_states_or_is_refused(tmp_path: Path) -> None:
    store, unit = Store.at(str(tmp_path)), SCORES.unit(scorer="a", model="base", language="fr")
    store.commit(unit, "k", None, {"attributes": ["toxicity"], "status_counts": {"ok": 3}, "device": "cpu"})
    marker = store.marker(unit, "k", ScoreMarker)
    assert (marker.attributes, marker.status_counts) == (["toxicity"], {"ok": 3})
    with pytest.raises(StoreError, match=r"00000-k\.json is not the marker of scores: Field required"):
        store.marker(unit, "k", FluencyMarker)


def test_keys_follow_the_fields_and_not_their_order() -> None:
    assert key_of(a=1, b="é") == key_of(b="é", a=1)
    keys = [key_of(a=1), key_of(a=2), key_of(a="1"), key_of(a=1.5), key_of(a=None), key_of(b=1), key_of(a=[1])]
    assert len(set(keys)) == len(keys)
    with pytest.raises(ValueError, match="JSON compliant"):
        key_of(a=float("nan"))


def test_units_have_a_value_for_each_key() -> None:
    unit = SCORES.unit(scorer="lexicon", model="base", language="fr", shard=2)
    assert unit.stem("k") == "scores/scorer=lexicon/model=base/language=fr/00002-k"
    assert Unit.of_path(f"{unit.stem('k')}.parquet") == (unit, "k")
    assert Unit.from_json(unit.to_json()) == unit
    assert (unit["model"], unit.get("model"), unit.get("evaluator", "none")) == ("base", "base", "none")
    with pytest.raises(KeyError, match="scores has the keys scorer, model, language, not evaluator"):
        _ = unit["evaluator"]
    with pytest.raises(AssertionError, match="has the keys"):
        SCORES.unit(model="base")


def test_a_table_is_defined_once() -> None:
    assert define("scores", SCORES.keys, SCORES.schema) is SCORES
    with pytest.raises(ValueError, match="two tables are named scores"):
        define("scores", ("model",), SCORES.schema)


def test_a_store_is_a_folder_or_a_uri_with_options(tmp_path: Path, s3_endpoint: str) -> None:
    assert Store.at(f"{tmp_path}/x/../a").path("b") == f"{tmp_path}/a/b"
    assert Store.at(f"file://{tmp_path}/a").path("b") == f"{tmp_path}/a/b"
    for slash in ("", "/"):
        uri = f"s3://bucket/a{slash}?endpoint_override={s3_endpoint}&scheme=http&region=us-east-1"
        assert Store.at(uri).path("b") == "bucket/a/b"
