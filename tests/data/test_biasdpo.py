"""BiasDPO: its files, and pairs of equal completions."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detox_ray.config import PairsConfig
from detox_ray.data import DataError, Rows, read_pairs

ROWS = [
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"prompt": "d", "chosen": "same", "rejected": "same"},
    {"prompt": "e", "chosen": "f", "rejected": "g"},
]


def read(path: Path) -> Rows:
    return read_pairs(PairsConfig(source="biasdpo", path=str(path)), "stop")


def test_pairs_of_equal_completions_are_left_out_and_counted(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    path = write_lines("BiasDPO/dataset.jsonl", ROWS)
    (tmp_path / "BiasDPO" / "README.md").write_text("# BiasDPO")
    for given in (path, path.parent):
        rows = read(given)
        assert rows.table["pair_id"].to_pylist() == ["en-00000", "en-00002"]
        assert "left out 1 pairs in which both completions are the same" in rows.notes[0]


def test_the_hubs_parquet_files_are_read_in_order(tmp_path: Path) -> None:
    for number, row in enumerate(reversed(ROWS)):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"train-0000{2 - number}-of-00003.parquet")
    assert read(tmp_path).table["prompt"].to_pylist() == ["a", "e"]


def test_files_in_another_form_are_refused(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no file that ends in \.jsonl"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no row has a 'chosen'.*columns: prompt, response"):
        read(write_lines("dataset.jsonl", [{"prompt": "a", "response": "b"}]))
