"""An index of scores by the hash of their text, in sorted arrays. A look-up hardly slows down as scores accumulate.

Arrays of similar size are merged, so that there are few. Adding a score takes logarithmic time.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

HASH_BYTES = 16


class ScoreIndex:
    """The known scores of one language."""

    def __init__(self, attributes: Sequence[str]):
        self._attributes = list(attributes)
        # Each entry: first halves of the hashes (ascending), their second halves, and values (hashes, attributes).
        self._arrays: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.bytes = 0

    def add(self, tables: Sequence[pa.Table]) -> None:
        """Add tables with a column ``text``, which holds hashes, and one column per attribute."""
        hashes = [np.frombuffer(b"".join(table["text"].to_pylist()), ">u8").reshape(-1, 2) for table in tables]
        values = [np.stack([table[name].to_numpy() for name in self._attributes], 1) for table in tables if len(table)]
        if not values:
            return
        halves = np.concatenate(hashes).astype(np.uint64)
        self._arrays.append(_sorted(halves[:, 0], halves[:, 1], np.concatenate(values)))
        while len(self._arrays) > 1 and 2 * len(self._arrays[-1][0]) > len(self._arrays[-2][0]):
            last, before = self._arrays.pop(), self._arrays.pop()
            self._arrays.append(_sorted(*(np.concatenate(pair) for pair in zip(before, last, strict=True))))
        self.bytes = sum(array.nbytes for arrays in self._arrays for array in arrays)

    def find(self, hashes: Sequence[bytes]) -> dict[int, list[float]]:
        """Return position in ``hashes`` -> values, one per attribute, for those hashes that are known.

        If different hashes share their first half, which is rare, only the first is found.
        """
        asked = np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 2).astype(np.uint64)
        order = np.argsort(asked[:, 0])  # neighbours are then looked up together, which uses the processor's caches
        asked = asked[order]
        found: dict[int, list[float]] = {}
        for firsts, seconds, values in self._arrays:
            places = np.minimum(np.searchsorted(firsts, asked[:, 0]), len(firsts) - 1)
            hits = np.flatnonzero((firsts[places] == asked[:, 0]) & (seconds[places] == asked[:, 1]))
            found.update(zip(order[hits].tolist(), values[places[hits]].tolist(), strict=True))
        return found


def _sorted(firsts: np.ndarray, seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(firsts, kind="stable")
    return firsts[order], seconds[order], values[order]
