"""What a unit costs does not grow with the units that are there: no listing for a commit, no whole file for a shard."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from detox_ray.storage import Store, Unit, marker_summary
from detox_ray.storage.tables import TEXTS

KEY, OTHER = "k" * 16, "l" * 16


def unit(number: int) -> Unit:
    return TEXTS.unit(language="en", shard=number)


def rows(count: int = 1) -> pa.Table:
    rows = [{"text_id": f"t{number}", "text": f"text {number}", "source": "test"} for number in range(count)]
    return pa.Table.from_pylist(rows, schema=TEXTS.columns)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "run"))


def forbidden(*_: Any) -> Any:
    raise AssertionError("this was not to be asked")


def test_a_unit_that_replaces_none_is_committed_without_a_listing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "files", forbidden)
    store.commit(unit(0), KEY, rows(), {"made": "first"}, replaces=False)
    store.commit(unit(0), KEY, rows(), {"made": "second"}, replaces=False)
    assert store.info(unit(0), KEY) == {"rows": 1, "made": "first"}
    monkeypatch.undo()
    assert store.committed(TEXTS) == {unit(0): KEY}


@pytest.mark.parametrize(("start", "count"), [(0, 4), (3, 4), (8, 4), (9, 1), (10, 4)])
def test_rows_of_a_shard_are_those_of_the_whole(store: Store, start: int, count: int) -> None:
    store.commit(unit(0), KEY, rows(10), group=4)
    assert store.read_rows(unit(0), KEY, start, count).equals(rows(10).slice(start, count).combine_chunks())


def test_several_units_are_read_at_the_same_time_and_returned_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        store.commit(unit(number), KEY, rows(number))
    together, read = threading.Barrier(4, timeout=60), Store._rows

    def waiting(self: Store, path: str, table: str) -> pa.Table:
        together.wait()  # fails unless four reads are in progress
        return read(self, path, table)

    monkeypatch.setattr(Store, "_rows", waiting)
    wanted = [(unit(number), KEY) for number in (2, 0, 3, 1)]
    assert list(store.read_each(wanted, len).items()) == [(unit(number), number) for number in (2, 0, 3, 1)]


def test_markers_of_a_finished_run_are_read_from_one_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        store.commit(unit(number), KEY, rows(), {"amount": number})
    keys = store.committed(TEXTS)
    markers = marker_summary.read(store, keys, keep=True)
    assert {one.shard: marker["amount"] for one, marker in markers.items()} == {0: 0, 1: 1, 2: 2}
    assert store.committed(TEXTS) == keys  # the summary is no unit
    monkeypatch.setattr(Store, "info", forbidden)
    assert marker_summary.read(store, keys, keep=False) == markers


def test_a_unit_that_was_made_again_is_not_described_by_its_old_marker(store: Store) -> None:
    store.commit(unit(0), KEY, rows(), {"amount": 1})
    marker_summary.read(store, store.committed(TEXTS), keep=True)
    store.commit(unit(0), OTHER, rows(), {"amount": 2})
    ((_, marker),) = marker_summary.read(store, store.committed(TEXTS), keep=True).items()
    assert marker["amount"] == 2


@pytest.mark.parametrize("units", [1, 2])
def test_a_unit_that_is_made_again_under_its_key_is_described_by_its_new_marker(store: Store, units: int) -> None:
    for number in range(units):
        store.commit(unit(number), KEY, rows(), {"amount": 1})
    marker_summary.read(store, store.committed(TEXTS), keep=True)
    store.retract(unit(0))
    marker_summary.forget(store, {unit(0): KEY})
    store.commit(unit(0), KEY, rows(), {"amount": 2})
    markers = marker_summary.read(store, store.committed(TEXTS), keep=True)
    assert [marker["amount"] for _, marker in sorted(markers.items())] == [2, 1][:units]
