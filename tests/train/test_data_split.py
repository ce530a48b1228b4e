"""Rows are split into those that train and those that validate."""

import math
from collections.abc import Callable

import datasets
import pyarrow as pa
import pytest
from small_training import WordTokenizer, pairs_table, train_config

from detox_ray.train import data_split

WORDS = WordTokenizer()


def split(table: pa.Table, workers: int = 1, **changes: object) -> data_split.Split:
    return data_split.split(table, WORDS, train_config(workers=workers, **changes), workers, "models.detox.train")


def corpus(count: int, own_validation: int = 0) -> pa.Table:
    texts = [{"text_id": f"t{i}", "text": f"w{i} and w{i}", "source": "file",
              "split": "validation" if i < own_validation else "train"} for i in range(count)]  # fmt: skip
    return pa.Table.from_pylist(texts)


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row.get("pair_id") or row["text_id"] for row in rows]


@pytest.mark.parametrize(("count", "fraction", "seed"), [(1000, 0.05, 0), (777, 0.05, 42), (41, 0.3, 7)])
def test_split_is_that_of_the_papers(count: int, fraction: float, seed: int) -> None:
    table = pairs_table(count)
    found = split(table, batch_size=1, validation_fraction=fraction, split_seed=seed)
    theirs = datasets.Dataset.from_pandas(table.to_pandas()).train_test_split(test_size=fraction, seed=seed)
    assert ids(found.train) == theirs["train"]["pair_id"][:]
    assert ids(found.validation) == theirs["test"]["pair_id"][:]


def test_training_seed_and_workers_have_no_part_in_what_is_held_out() -> None:
    first, second = split(pairs_table(200), 1, seed=1), split(pairs_table(200), 4, seed=2)
    assert first.train == second.train


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("held", [8, 50, 1229])
def test_every_worker_evaluates_equally_many_full_batches_of_nearly_all_rows(
    held: int, batch_size: int, workers: int
) -> None:
    batches, batch = data_split.evaluation_batches(held, workers, batch_size)
    assert batch_size >= batch >= min(batch_size / 2, held // workers)
    assert 0 <= held - workers * batches * batch < workers * batch_size


def test_validation_limit_evaluates_a_part_and_trains_on_no_more() -> None:
    whole, limited = split(pairs_table(1000)), split(pairs_table(1000), validation_limit=32)
    assert limited.train == whole.train
    assert limited.validation == whole.validation[:32]


def test_data_fraction_takes_the_first_rows_before_any_filter() -> None:
    table = pairs_table(100)
    found = split(table, data_fraction=0.299, validation_fraction=0.0)
    assert sorted(ids(found.train)) == sorted(f"p{i}" for i in range(29))


def test_train_limit_takes_the_first_of_the_training_part() -> None:
    assert split(pairs_table(100), train_limit=7).train == split(pairs_table(100)).train[:7]


def test_corpus_with_its_own_validation_part_is_split_as_it_says() -> None:
    found = split(corpus(40, own_validation=6), method="sft", train_on="corpus", validation_fraction=0.5)
    assert ids(found.validation) == [f"t{i}" for i in range(6)][: len(found.validation)]
    assert ids(found.train) == [f"t{i}" for i in range(6, 40)]  # in the corpus's order
    without = split(corpus(40), method="sft", train_on="corpus", validation_fraction=0.5)
    assert len(without.train) == 20


def test_chunks_of_one_text_stay_on_one_side_of_the_split() -> None:
    texts = [{"text_id": f"t{i}", "text": " ".join(["word"] * 20), "source": "file"} for i in range(30)]
    table = pa.Table.from_pylist(texts)
    found = split(table, method="sft", train_on="corpus", overflow="chunks", max_length=8, validation_fraction=0.3)
    assert not set(ids(found.train)) & set(ids(found.validation))
    assert len(found.train) == 3 * (30 - math.ceil(0.3 * 30))


def test_too_little_to_evaluate_is_an_error_unless_nothing_is_to_be_evaluated() -> None:
    with pytest.raises(ValueError, match=r"^models\.detox\.train\.validation_fraction: 0\.1 leaves 1 rows for 2 work"):
        split(pairs_table(10), 2)
    assert split(pairs_table(10), 2, validation_fraction=0.0).validation == []


def test_pairs_that_the_filter_leaves_out_are_counted_and_all_of_them_is_an_error() -> None:
    table = pairs_table(10)
    longest = max(len((row["prompt"]).split()) for row in table.to_pylist())
    rows = [{**row, "prompt": " ".join(["so"] * 8)} if i < 2 else row for i, row in enumerate(table.to_pylist())]
    wide = pa.Table.from_pylist(rows, schema=table.schema)
    assert longest < 8
    found = split(wide, max_length=8, length_filter="tokens", validation_fraction=0.0)
    assert (found.dropped, len(found.train)) == (2, 8)
    with pytest.raises(ValueError, match=r"^models\.detox\.train: no rows to train on: of 10, 10 .*max_length 16"):
        split(table, length_filter="characters", max_length=16)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop(["rejected"]), "must have pair_id, prompt, chosen, rejected; rejected missing"),
        (lambda table: corpus(5), "learns from pairs, which must have .*; pair_id, prompt, chosen, rejected missing"),
        (
            lambda table: table.set_column(2, "chosen", pa.array([None] + ["x"] * 9)),
            "chosen of row 0 is None, not a text",
        ),
        (lambda table: table.set_column(2, "chosen", pa.array(range(10))), "chosen of row 0 is 0, not a text"),
    ],
)
def test_table_of_another_format_is_an_error_that_says_what_is_wrong(
    change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    table = change(pairs_table(10))
    with pytest.raises(ValueError, match=rf"^models\.detox\.train: .*{said}"):
        split(table)
