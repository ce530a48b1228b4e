"""The check that a storage can be written, before anything is spent."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detox_ray.storage import Store


def test_a_writable_folder_is_told_from_one_that_is_not(store: Store) -> None:
    assert store.check_writable() is None
    assert store.files("") == []  # and the probe left nothing


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
        ("nowhere", "has no bucket 'nowhere'"),
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
    assert "/proc/none cannot be created" in (Store.at("/proc/none/mine").check_writable() or "")


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
