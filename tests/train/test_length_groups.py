"""The cut of a step's pairs into groups, against exhaustive search and by hand."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from detox_ray.train import length_groups


def padded(lengths: Sequence[int]) -> int:
    return 2 * len(lengths) * max(lengths)


def all_cuts(lengths: Sequence[int], groups: int) -> Iterator[list[Sequence[int]]]:
    """Every way to cut a list into so many non-empty ranges."""
    for ends in itertools.combinations(range(1, len(lengths)), groups - 1):
        yield [lengths[begin:end] for begin, end in itertools.pairwise((0, *ends, len(lengths)))]


def cut_at(lengths: Sequence[int], ends: Sequence[int]) -> list[Sequence[int]]:
    return [lengths[begin:end] for begin, end in itertools.pairwise((0, *ends))]


def all_set_partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    for rest in all_set_partitions(items[1:]):
        yield [[items[0]], *rest]
        for index in range(len(rest)):
            yield [*rest[:index], [items[0], *rest[index]], *rest[index + 1 :]]


def test_partition_by_hand() -> None:
    # 100 | 40 38 30 costs 2 (100 + 120); no other pair of groups is cheaper.
    assert length_groups.partition([100, 40, 38, 30], 2, 1000, even=False) == [1, 4]
    # With at most 200 tokens a group the three short ones do not fit together.
    assert length_groups.partition([100, 40, 38, 30], 3, 200, even=False) == [1, 3, 4]


def test_sorted_cut_is_no_worse_than_any_grouping() -> None:
    draw = random.Random(1)
    for _ in range(20):
        lengths = sorted((draw.randint(3, 60) for _ in range(7)), reverse=True)
        for groups in (1, 2, 3):
            best = min(sum(padded(group) for group in cut) for cut in all_set_partitions(lengths) if len(cut) == groups)
            found = cut_at(lengths, length_groups.partition(lengths, groups, 10_000, even=False))
            assert sum(padded(group) for group in found) == best


def test_even_cut_has_the_smallest_largest_group_then_the_least_padding() -> None:
    draw = random.Random(2)
    for _ in range(50):
        lengths = sorted((draw.randint(3, 90) for _ in range(9)), reverse=True)
        for groups in (2, 4):
            found = [
                padded(group) for group in cut_at(lengths, length_groups.partition(lengths, groups, 10_000, even=True))
            ]
            cuts = [[padded(group) for group in cut] for cut in all_cuts(lengths, groups)]
            smallest = min(max(costs) for costs in cuts)
            assert max(found) == smallest
            assert sum(found) == min(sum(costs) for costs in cuts if max(costs) == smallest)


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="4 pairs do not fit 1 groups of 300"):
        length_groups.partition([100, 40, 38, 30], 1, 300, even=False)
    with pytest.raises(ValueError, match="a pair of 101 tokens"):
        length_groups.fill([101, 4], 200)


def test_fill_takes_the_fewest_groups() -> None:
    draw = random.Random(3)
    for _ in range(20):
        lengths = [draw.randint(3, 50) for _ in range(7)]
        groups = length_groups.fill(lengths, 200)
        assert sorted(pair for group in groups for pair in group) == list(range(7))
        assert all(padded([lengths[pair] for pair in group]) <= 200 for group in groups)
        fewest = min(len(cut) for cut in all_set_partitions(lengths) if all(padded(group) <= 200 for group in cut))
        assert len(groups) == fewest


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_pair_counts_as_often_as_it_is_in_the_step_and_all_equally(workers: int) -> None:
    draw = random.Random(4)
    lengths = [draw.randint(5, 100) for _ in range(40)]
    step = [*draw.sample(range(40), 12), 7, 7]  # a filled-up ragged step holds pairs twice
    for groups in (2, 5):
        shares = length_groups.divide(step, lengths, workers, groups, 1400)
        assert [len(share) for share in shares] == [groups] * workers
        counted = Counter[int]()
        weights = Counter[int]()
        for group in itertools.chain(*shares):
            assert padded([lengths[pair] for pair in group.pairs]) <= 1400
            counted.update(group.pairs if group.weight else [])
            for pair in group.pairs:
                weights[pair] += group.weight / (workers * groups)  # as the trainer averages
        assert counted == Counter(step)
        assert weights == pytest.approx({pair: times / len(step) for pair, times in Counter(step).items()})


def test_a_step_with_fewer_pairs_than_groups_gives_the_rest_something_to_compute_that_does_not_count() -> None:
    shares = length_groups.divide([3, 1], [10, 20, 30, 40], 2, 2, 1000)
    assert shares == [[([3], 2.0), ([1], 0.0)], [([1], 2.0), ([1], 0.0)]]


def test_workers_get_like_groups_at_the_same_time_and_like_loads() -> None:
    draw = random.Random(5)
    lengths = [int(draw.lognormvariate(4, 0.6)) + 4 for _ in range(64)]
    shares = length_groups.divide(range(64), lengths, 4, 3, 10_000)
    costs = [[padded([lengths[pair] for pair in group.pairs]) for group in share] for share in shares]
    for together in zip(*costs, strict=True):
        assert max(together) <= 1.5 * min(together)
    loads = [sum(share) for share in costs]
    assert max(loads) <= 1.15 * min(loads)


def test_as_many_groups_as_the_neediest_step_needs() -> None:
    lengths = [50] * 8 + [100] * 4
    easy, needy = [0, 1, 2, 3], [8, 9, 10, 11]
    assert length_groups.groups_per_step([easy], lengths, 1, 400) == 1
    assert length_groups.groups_per_step([easy, needy, easy], lengths, 1, 400) == 2
    assert length_groups.groups_per_step([easy, needy, easy], lengths, 2, 400) == 1


def test_more_groups_where_that_saves_more_padding_than_a_pass_costs() -> None:
    lengths = [1000, *[20] * 15]  # one group: 32,000 tokens; two: 2,600
    assert length_groups.groups_per_step([list(range(16))], lengths, 1, 100_000) == 2
    alike = [100] * 16
    assert length_groups.groups_per_step([list(range(16))], alike, 1, 100_000) == 1


def test_a_mean_over_groups_is_the_mean_over_pairs() -> None:
    """Average as the losses do: the mean over a group, times its weights, averaged over groups and workers."""
    draw = random.Random(6)
    lengths = [draw.randint(5, 100) for _ in range(30)]
    losses = [draw.random() for _ in range(30)]
    step = draw.sample(range(30), 17)
    shares = length_groups.divide(step, lengths, 2, 3, 5000)
    total = 0.0
    for group in itertools.chain(*shares):
        mean = sum(losses[pair] for pair in group.pairs) / len(group.pairs)
        total += mean * group.weight * len(group.pairs)
    assert total / 6 == pytest.approx(sum(losses[pair] for pair in step) / 17)
