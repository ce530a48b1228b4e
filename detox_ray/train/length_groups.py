"""Grouping of the pairs of an optimizer step by length. The pairs of a group are computed together.

TRL's sampler draws the pairs of a step. Here they are sorted by length and divided into groups. A group is padded to
its longest sequence and computed at once. The division changes the cost of the step but not its result. Every worker
gets the same number of groups in every step, because ZeRO-3 computes them in lockstep and gradients are accumulated
over a fixed number. So another group costs every step another pass, but saves padding.

A pair's length is the number of tokens of its prompt and its longer completion. A group of n pairs takes 2 n times its
greatest length in padded tokens, for chosen and rejected. This module is pure numerics.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The fixed cost of a pass (kernel launches, reading the weights, exchanging gradients), as a number of tokens whose
# computation takes as long. It affects only the number of groups in a step.
OVERHEAD_TOKENS = 128
SAMPLE_STEPS = 32  # steps that determine the number of groups


class PairGroup(NamedTuple):
    """Pairs that one worker computes at once."""

    pairs: list[int]  # indices in the dataset
    weight: float  # weight of each pair in the worker's loss; 0: computed only to keep pace with the other workers


def groups_per_step(steps: Sequence[Sequence[int]], lengths: Sequence[int], workers: int, budget: int) -> int:
    """Return the number of groups per worker and step.

    It is the smallest number with which every step keeps to the budget, or a larger number if that takes less time.

    Args:
        steps: Indices of the pairs of each step.
        lengths: Length of each pair, in tokens.
        workers: Number of workers.
        budget: Most padded tokens of a group.
    """
    drawn = [sorted((lengths[pair] for pair in step), reverse=True) for step in steps]
    least = max(-(-len(fill(step, budget)) // workers) for step in drawn)
    sample = drawn[:: -(-len(drawn) // SAMPLE_STEPS)]
    most = max(least, -(-max(map(len, sample)) // workers))
    best, lowest = least, float("inf")
    for groups in range(least, most + 1):
        cost = sum(_cost(step, workers, groups, budget) for step in sample)
        if cost >= lowest:
            break
        best, lowest = groups, cost
    return best


def divide(
    step: Sequence[int], lengths: Sequence[int], workers: int, groups: int, budget: int
) -> list[list[PairGroup]]:
    """Return each worker's ``groups`` groups of a step (indices of pairs), in the order in which they are computed.

    With the groups' weights, the mean over workers and groups of the weighted sums of losses is the mean over the
    step's pairs. Groups that are computed at the same time on all workers are of similar size.
    """
    pairs = sorted(step, key=lambda pair: -lengths[pair])  # stable, so the same on every worker
    sizes = [lengths[pair] for pair in pairs]
    weight = workers * groups / len(pairs)
    cut = [
        (cost, PairGroup(pairs[begin:end], weight))
        for begin, end, cost in _ranges(sizes, partition(sizes, min(workers * groups, len(pairs)), budget, workers > 1))
    ]
    cut += [(0, PairGroup([pairs[-1]], 0.0))] * (workers * groups - len(cut))
    cut.sort(key=lambda one: -one[0])
    shares: list[list[PairGroup]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for turn in range(groups):
        idle = sorted(range(workers), key=lambda worker: loads[worker])
        for worker, (cost, group) in zip(idle, cut[turn * workers : (turn + 1) * workers], strict=True):
            shares[worker].append(group)
            loads[worker] += cost
    return shares


def fill(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return the indices of all pairs, longest first, in the fewest groups of at most ``budget`` padded tokens."""
    groups: list[list[int]] = []
    for pair in sorted(range(len(lengths)), key=lambda pair: -lengths[pair]):
        if groups and 2 * (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(pair)
        elif 2 * lengths[pair] <= budget:
            groups.append([pair])
        else:
            raise ValueError(f"a pair of {lengths[pair]} tokens does not fit a group of {budget}")
    return groups


def partition(lengths: Sequence[int], groups: int, budget: int, even: bool) -> list[int]:
    """Divide sorted pairs into groups with the least padding. Return the end of each group.

    The result is exact, by dynamic programming over the sorted pairs.

    Args:
        lengths: Lengths of the pairs, longest first.
        groups: Number of groups, at most ``len(lengths)``.
        budget: Most padded tokens of a group.
        even: Whether to consider only divisions whose largest group is as small as possible, because workers wait for
            each other.
    """
    count = len(lengths)
    sizes = np.subtract.outer(np.arange(count + 1), np.arange(count + 1)).T  # [begin, end]: pairs between
    costs = np.where(sizes > 0, 2.0 * sizes * np.append(lengths, 0)[:, None], np.inf)
    costs[costs > budget] = np.inf
    if even:
        largest, _ = _best(costs, groups, np.maximum)
        costs[costs > largest] = np.inf
    total, begins = _best(costs, groups, np.add)
    if not np.isfinite(total):
        raise ValueError(f"{count} pairs do not fit {groups} groups of {budget} tokens")
    ends, end = [], count
    for begin in reversed(begins):
        ends.append(end)
        end = int(begin[end])
    return ends[::-1]


def _best(costs: NDArray[np.float64], groups: int, join: np.ufunc) -> tuple[float, list[NDArray[np.int64]]]:
    """Return the least joined cost of ``groups`` consecutive ranges, and each range's best beginning for every end."""
    least = np.full(len(costs), np.inf)
    least[0] = 0
    begins = []
    for _ in range(groups):
        through = join(least[:, None], costs)
        begins.append(through.argmin(axis=0))
        least = through.min(axis=0)
    return float(least[-1]), begins


def _ranges(lengths: Sequence[int], ends: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return (begin, end, padded tokens) of each group."""
    ranges, begin = [], 0
    for end in ends:
        ranges.append((begin, end, 2 * (end - begin) * lengths[begin]))
        begin = end
    return ranges


def _cost(lengths: Sequence[int], workers: int, groups: int, budget: int) -> float:
    """Return a step's cost in tokens. Of groups that are computed at the same time, the largest counts."""
    ends = partition(lengths, min(workers * groups, len(lengths)), budget, workers > 1)
    costs = sorted((cost for _, _, cost in _ranges(lengths, ends)), reverse=True)
    return sum(costs[::workers]) + groups * OVERHEAD_TOKENS
