"""Damaged, missing and foreign files of the run's folder: errors that name the file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_generations import FRENCH, generations

from detox_ray.storage import Store, StoreError
from detox_ray.storage.markers import FluencyMarker, ScoreMarker
from detox_ray.storage.tables import GENERATIONS, SCORES


def test_a_marker_without_its_part_counts_for_nothing(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    store.delete(f"{FRENCH.stem('k')}.parquet")
    assert store.committed(GENERATIONS) == {}


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all, but long enough to have a footer PAR1"])
def test_a_damaged_part_is_an_error_that_names_the_file(store: Store, content: bytes) -> None:
    store.commit(FRENCH, "k", generations("un"))
    store.write_bytes(f"{FRENCH.stem('k')}.parquet", content)
    with pytest.raises(StoreError, match=r"00000-k\.parquet cannot be read .*delete it and run again"):
        store.read(FRENCH, "k")


def test_a_part_of_another_schema_is_an_error(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"prompt_id": ["x"]}), sink)
    store.write_bytes(f"{FRENCH.stem('k')}.parquet", sink.getvalue().to_pybytes())
    with pytest.raises(StoreError, match="cannot be read"):
        store.read(FRENCH, "k")


def test_a_damaged_marker_is_an_error_that_names_the_file(store: Store) -> None:
    store.commit(FRENCH, "k", generations("un"))
    store.write_bytes(f"commits/{FRENCH.stem('k')}.json", b'{"rows": ')
    with pytest.raises(StoreError, match=r"00000-k\.json is damaged"):
        store.info(FRENCH, "k")


def test_a_missing_part_is_an_error_that_names_the_file(store: Store) -> None:
    with pytest.raises(StoreError, match=r"00000-k\.parquet cannot be read"):
        store.read(FRENCH, "k")


def test_a_marker_says_what_its_kind_states_or_is_refused(tmp_path: Path) -> None:
    store, unit = Store.at(str(tmp_path)), SCORES.unit(scorer="a", model="base", language="fr")
    store.commit(unit, "k", None, {"attributes": ["toxicity"], "status_counts": {"ok": 3}, "device": "cpu"})
    marker = store.marker(unit, "k", ScoreMarker)
    assert (marker.attributes, marker.status_counts) == (["toxicity"], {"ok": 3})
    with pytest.raises(StoreError, match=r"00000-k\.json is not a marker of scores: Field required"):
        store.marker(unit, "k", FluencyMarker)
