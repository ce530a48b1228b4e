"""Batches for classifiers and language models: rows of like length together, so that little of a batch is padding.

Completions differ in length by an order of magnitude. In the order they come, a batch is as wide as its longest text
and most of it is padding; sorted by length, and as many rows as fit in a budget of padded tokens, next to none is.
"""

from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of all rows, longest first, in batches of at most ``budget`` padded tokens, and at least one row.

    Longest first, so that what does not fit in memory fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    begin = 0
    while begin < len(order):
        rows = max(1, budget // max(1, lengths[order[begin]]))
        yield order[begin : begin + rows]
        begin += rows
