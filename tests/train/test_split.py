"""Which pairs train and which validate."""

from collections.abc import Sequence

import pytest
from small_training import pairs_table

from detox_ray.train import data


def words(prompts: Sequence[str]) -> list[int]:
    return [len(prompt.split()) for prompt in prompts]


def test_split_is_disjoint_whole_and_decided_by_the_seed() -> None:
    table = pairs_table(100)
    first = data.split(table, words, 64, 0.2, 2, 4, seed=1)
    again = data.split(table, words, 64, 0.2, 2, 4, seed=1)
    other = data.split(table, words, 64, 0.2, 2, 4, seed=2)
    assert first == again
    assert first.validation != other.validation
    everything = table.select(["prompt", "chosen", "rejected"]).to_pylist()
    as_set = sorted(map(repr, everything))
    assert sorted(map(repr, first.train + first.validation)) == as_set
    assert first.dropped == 0


@pytest.mark.parametrize(("fraction", "workers", "batch_size"), [(0.05, 2, 16), (0.1, 3, 4), (0.5, 1, 7), (0.03, 2, 4)])
def test_validation_divides_into_full_batches_near_the_fraction(fraction: float, workers: int, batch_size: int) -> None:
    found = data.split(pairs_table(1000), words, 64, fraction, workers, batch_size, seed=0)
    assert found.validation_batch <= batch_size
    assert len(found.validation) % (workers * found.validation_batch) == 0
    assert abs(len(found.validation) - 1000 * fraction) <= 0.1 * 1000 * fraction


def test_no_validation_where_none_is_wanted_or_too_few_pairs_are_there() -> None:
    assert data.split(pairs_table(10), words, 64, 0.0, 2, 4, seed=0).validation == []
    assert data.split(pairs_table(2), words, 64, 0.9, 4, 4, seed=0).validation == []


def test_pairs_whose_prompt_fills_the_length_are_dropped_and_counted() -> None:
    table = pairs_table(10)
    lengths = [7, 8, 9, 7, 7, 7, 7, 7, 7, 7]
    found = data.split(table, lambda prompts: lengths, 8, 0.0, 1, 4, seed=0)
    assert found.dropped == 2
    assert len(found.train) == 8
    with pytest.raises(ValueError, match="max_length"):
        data.split(table, lambda prompts: [8] * 10, 8, 0.0, 1, 4, seed=0)
