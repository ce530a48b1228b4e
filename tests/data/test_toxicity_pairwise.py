"""toxicity_pairwise: the order of the splits, the mapping of its fields, repeated prompts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detox_ray.config import PairsConfig
from detox_ray.data import DataError, Rows, read_pairs
from detox_ray.data.sources import toxicity_pairwise

# A row of another form: the other names, and a conversation.
OTHER = {"prompt": "f", "chosen": " x", "pert_gen_text": [{"role": "assistant", "content": "y"}]}


def record(prompt: str, chosen: Any, rejected: Any) -> dict[str, Any]:
    ids = [1, 2, 3]
    return {
        "prompt_text": prompt,
        "prompt_input_ids": ids,
        "gold_text": "gold",
        "gold_input_ids": ids,
        "unpert_gen_text": chosen,
        "unpert_gen_token_ids": ids,
        "pert_gen_text": rejected,
        "pert_gen_toks": ids,
    }


def read(folder: Path, on_error: Any = "stop", limit: int | None = None) -> Rows:
    return read_pairs(PairsConfig(source="toxicity-pairwise", path=str(folder), limit=limit), on_error)


def test_splits_are_read_in_the_order_of_their_numbers(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    for number in (10, 2, 0, 1):
        write_lines(f"split_{number}.jsonl", [record(f"p{number}", " good", " bad")])
    write_lines("split_x.jsonl", [b"not a split"])
    rows = read(tmp_path)
    assert rows.table["prompt"].to_pylist() == ["p0", "p1", "p2", "p10"]
    assert rows.table["pair_id"].to_pylist() == ["en-00000", "en-00001", "en-00002", "en-00003"]
    assert "split_3.jsonl" in rows.notes[-1]


def test_a_copy_of_an_unpublished_size_is_noted(
    write_lines: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toxicity_pairwise.PUBLISHED == 24_576
    monkeypatch.setattr(toxicity_pairwise, "PUBLISHED", 1_002)
    write_lines("split_0.jsonl", [record(str(i), " x", " y") for i in range(1_000)])
    write_lines("split_1.jsonl", [record("a", " x", " y")] * 2)
    assert read(tmp_path, limit=1).notes == []
    write_lines("split_1.jsonl", [record("a", " x", " y")])
    assert "has 1,001 pairs; the published data has 1,002" in read(tmp_path, limit=1).notes[0]


def test_unperturbed_text_is_chosen_with_its_spaces(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("split_0.jsonl", [record("The cat", " sleeps .", " lies .")])
    row = read(tmp_path).table.to_pylist()[0]
    assert (row["chosen"], row["rejected"], row["language"]) == (" sleeps .", " lies .", "en")


def test_a_repeated_prompt_is_cut_and_counted(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("split_0.jsonl", [record("The cat", "The cat sleeps", " lies"), record("A dog", " runs", " lies")])
    rows = read(tmp_path)
    assert rows.table["chosen"].to_pylist() == [" sleeps", " runs"]
    assert "completions of 1 pairs that repeat it" in rows.notes[0]


def test_bad_rows_are_reported_with_their_split_and_count_in_ids(
    write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    write_lines("split_0.jsonl", [record("a", " x", " x"), record("b", " x", " y")])
    write_lines("split_1.jsonl", [record("c", "", " y"), record("d", " x", None), record("e", " x", " y"), OTHER])
    rows = read(tmp_path, "skip", limit=5)
    assert rows.table["pair_id"].to_pylist() == ["en-00001", "en-00004"]
    assert [line.rpartition("/")[2] for line in rows.skipped] == [
        "split_0.jsonl:1: the chosen and the rejected completion are the same",
        "split_1.jsonl:1: unpert_gen_text is empty",
        "split_1.jsonl:2: has no field 'pert_gen_text'",
        "split_1.jsonl:4: has no field 'prompt_text'; has no field 'unpert_gen_text'; pert_gen_text must be text, "
        "not a list of chat messages: write their text instead",
    ]
    with pytest.raises(DataError, match=r"split_1\.jsonl:2"):
        read(tmp_path)


def test_limit_takes_the_first_good_rows(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("split_0.jsonl", [record(str(i), " x", " y") for i in range(5)])
    assert read(tmp_path, limit=2).table["prompt"].to_pylist() == ["0", "1"]


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no split_\*\.jsonl"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "nowhere")
