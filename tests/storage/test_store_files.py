"""Files of the run's folder beside its units: names, JSON, and folders that are uploaded and fetched."""

import os
import time
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from stored_generations import FRENCH, generations

from detox_ray.storage import Store
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import GENERATIONS


def test_the_name_is_a_folder_under_the_storage(store: Store) -> None:
    assert store.path().endswith("/mine")
    assert store.path("a/b").endswith("/mine/a/b")
    assert store.is_local != store.uri.startswith("s3://")


def test_a_store_is_a_folder_or_a_uri_with_options(tmp_path: Path, s3_endpoint: str) -> None:
    assert Store.at(f"{tmp_path}/x/../a").path("b") == f"{tmp_path}/a/b"
    assert Store.at(f"file://{tmp_path}/a").path("b") == f"{tmp_path}/a/b"
    for slash in ("", "/"):
        uri = f"s3://bucket/a{slash}?endpoint_override={s3_endpoint}&scheme=http&region=us-east-1"
        assert Store.at(uri).path("b") == "bucket/a/b"


def test_what_is_written_is_what_is_stored(store: Store) -> None:
    odd = Store(store.location.child("a b%20+ü#1;[x]{y}*'").child("?/~").uri)
    odd.commit(FRENCH, "k", generations("un"))
    assert odd.check_writable() is None
    with run_lock(odd):
        assert Store(odd.uri).committed(GENERATIONS) == {FRENCH: "k"}
    folders = odd.fs.get_file_info(pafs.FileSelector(store.path()))
    assert [info.base_name for info in folders] == ["a b%20+ü#1;[x]{y}*'"]


def test_json_keeps_every_script_and_refuses_nan(store: Store) -> None:
    store.write_json("a/b.json", {"text": "猫 قطة 😀"})
    assert store.read_json("a/b.json") == {"text": "猫 قطة 😀"}
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_json("a/b.json", {"value": float("nan")})
    assert store.read_json("a/b.json") == {"text": "猫 قطة 😀"}


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete("absent.json")


def test_a_missing_file_is_a_file_not_found_error(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_json("absent.json")


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


def test_an_uploaded_folder_comes_back_whole_and_an_upload_replaces_it(store: Store, tmp_path: Path) -> None:
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


def test_an_unchanged_folder_is_fetched_once(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights").write_bytes(b"w")
    store.upload(source, "checkpoints/detox")
    first = store.localize("checkpoints/detox")
    before = (first / "weights").stat().st_mtime_ns
    assert store.localize("checkpoints/detox") == first
    assert (first / "weights").stat().st_mtime_ns == before


def test_the_temporary_file_of_a_crashed_writer_is_removed_after_a_day(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "run"))
    store.write_bytes("commits/marker.json", b"{}")
    old, new = (tmp_path / "run" / "commits" / f".writing-{name}" for name in ("old", "new"))
    for file in (old, new):
        file.write_bytes(b"half of a ma")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    store.tidy()
    assert not old.exists(), "its writer is long gone"
    assert new.exists(), "its writer may be at work"
    assert store.read_bytes("commits/marker.json") == b"{}"
