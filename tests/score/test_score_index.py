"""The index of scores by hash, against a dictionary."""

import hashlib
import struct

import numpy as np
import pyarrow as pa
import pytest

from detox_ray.score.score_cache import HASH
from detox_ray.score.score_index import ScoreIndex

Known = dict[bytes, list[float]]


def table(known: Known) -> pa.Table:
    values = np.array(list(known.values())).reshape(-1, 2)
    return pa.table({"text": pa.array(list(known), HASH), "toxicity": values[:, 0], "insult": values[:, 1]})


def numbered(numbers: range) -> Known:
    return {hashlib.md5(str(n).encode()).digest(): [float(n), -float(n)] for n in numbers}


def found(parts: list[Known], asked: list[bytes]) -> Known:
    index = ScoreIndex(["toxicity", "insult"])
    for part in parts:
        index.add([table(part)])
    return {asked[place]: values for place, values in index.find(asked).items()}


@pytest.mark.parametrize("sizes", [[1], [5000], [4000, 1, 1, 900, 30], [0, 3]])
def test_all_that_was_added_and_nothing_else_is_found(sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    parts = [numbered(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    known: Known = {}
    for part in parts:
        known |= part
    absent = list(numbered(range(10**6, 10**6 + 500)))
    assert found(parts, [*absent, *known]) == known
    assert found(parts, absent) == {}


def test_hashes_that_share_their_first_half_are_told_apart() -> None:
    """A million hashes share no half by chance, so these are made: all of them lie in one bucket."""
    hashes = [struct.pack(">QQ", 2**64 - 1, number) for number in range(40)]
    known = {each: [float(number), 0.0] for number, each in enumerate(hashes) if number % 2}
    assert found([known], hashes) == known


def test_a_hash_that_is_known_twice_is_found_once() -> None:
    known = numbered(range(10))
    assert found([known, numbered(range(5, 15)), known], list(known)) == known


def test_an_empty_index_and_an_empty_question() -> None:
    assert found([], list(numbered(range(3)))) == {}
    assert found([numbered(range(3))], []) == {}
