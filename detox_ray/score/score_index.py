"""An index of scores by the hash of their text. A look-up hardly slows down as scores accumulate.

The hashes are sorted, and a directory says where those with the same leading bits begin: a look-up reads an entry of
the directory and a few hashes. Arrays of similar size are merged, so that there are few. Adding a score takes
logarithmic time.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

HASH_BYTES = 16
PER_BUCKET = 2  # hashes that share their leading bits, on average


class _Sorted(NamedTuple):
    """Some hashes in ascending order of their first halves, and the values of each."""

    firsts: np.ndarray  # (hashes,) first half of each
    seconds: np.ndarray  # (hashes,)
    values: np.ndarray  # (hashes, attributes)
    starts: np.ndarray  # (buckets + 1,) where each bucket begins; its hashes share their leading bits
    shift: int  # of a first half to its bucket
    longest: int  # most hashes of a bucket

    @classmethod
    def of(cls, firsts: np.ndarray, seconds: np.ndarray, values: np.ndarray) -> Self:
        order = np.argsort(firsts, kind="stable")
        firsts = firsts[order]
        bits = max(1, (len(firsts) // PER_BUCKET).bit_length())
        shift = 64 - bits
        sizes = np.bincount((firsts >> np.uint64(shift)).astype(np.int64), minlength=1 << bits)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32 if len(firsts) < 2**31 else np.int64)
        return cls(firsts, seconds[order], values[order], starts, shift, int(sizes.max()))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self[:4])

    def find(self, firsts: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of those asked for that are here, and their places in the arrays."""
        buckets = (firsts >> np.uint64(self.shift)).astype(np.int64)
        places, ends = self.starts[buckets], self.starts[buckets + 1]
        asked = np.arange(len(firsts))
        hits, hit_places = [], []
        for _ in range(self.longest):
            within = places < ends
            asked, places, ends = asked[within], places[within], ends[within]
            alike = np.flatnonzero(self.firsts[places] == firsts[asked])
            equal = alike[self.seconds[places[alike]] == seconds[asked[alike]]]
            hits.append(asked[equal])
            hit_places.append(places[equal])
            places = places + 1
        return np.concatenate(hits), np.concatenate(hit_places)


class ScoreIndex:
    """The known scores of one language."""

    def __init__(self, attributes: Sequence[str]):
        self._attributes = list(attributes)
        self._arrays: list[_Sorted] = []
        self.bytes = 0

    def add(self, tables: Sequence[pa.Table]) -> None:
        """Add tables with a column ``text``, which holds hashes, and one column per attribute."""
        hashes = [np.frombuffer(b"".join(table["text"].to_pylist()), ">u8").reshape(-1, 2) for table in tables]
        values = [np.stack([table[name].to_numpy() for name in self._attributes], 1) for table in tables if len(table)]
        if not values:
            return
        halves = np.concatenate(hashes).astype(np.uint64)
        self._arrays.append(_Sorted.of(halves[:, 0], halves[:, 1], np.concatenate(values)))
        while len(self._arrays) > 1 and 2 * len(self._arrays[-1].firsts) > len(self._arrays[-2].firsts):
            last, before = self._arrays.pop(), self._arrays.pop()
            joined = [np.concatenate(pair) for pair in zip(before[:3], last[:3], strict=True)]
            self._arrays.append(_Sorted.of(*joined))
        self.bytes = sum(array.nbytes for array in self._arrays)

    def find(self, hashes: Sequence[bytes]) -> dict[int, list[float]]:
        """Return position in ``hashes`` -> values, one per attribute, for those hashes that are known."""
        asked = np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 2).astype(np.uint64)
        order = np.argsort(asked[:, 0])  # neighbours are then looked up together, which uses the processor's caches
        firsts, seconds = asked[order, 0], asked[order, 1]
        found: dict[int, list[float]] = {}
        for array in self._arrays:
            hits, places = array.find(firsts, seconds)
            found.update(zip(order[hits].tolist(), array.values[places].tolist(), strict=True))
        return found
