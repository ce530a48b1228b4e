"""A reader of pandas frames published as pickles, with an unpickler that allows only ten names.

A pickle is a program that can name and call any function. Here it may name only the parts of a frame of texts and
numbers (pandas 3.1); anything else is rejected before it is called.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from detox_ray.data import DataError, Flaw

ALLOWED = frozenset(
    (
        ("builtins", "slice"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.internals.managers", "BlockManager"),
    )
)
# Names that newer versions of NumPy and pandas write for the same objects.
_ALIASES = {
    ("numpy._core.multiarray", "_reconstruct"): ("numpy.core.multiarray", "_reconstruct"),
    ("pandas", "DataFrame"): ("pandas.core.frame", "DataFrame"),
    ("pandas", "Index"): ("pandas.core.indexes.base", "Index"),
    ("pandas", "RangeIndex"): ("pandas.core.indexes.range", "RangeIndex"),
}


class _FrameUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _ALIASES.get((module, name), (module, name)) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which a frame of texts does not need")
        if name == "_reconstruct":
            module = "numpy._core.multiarray"
        return super().find_class(module, name)


def frame_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a pickled frame. Raise DataError if the file is not a frame or names anything else."""
    try:
        frame = _FrameUnpickler(io.BytesIO(path.read_bytes())).load()
        rows: list[dict[str, Any]] = frame.to_dict("records")
        return rows
    except Exception as error:  # a damaged pickle can raise any exception
        reason = f"is not a readable pickled frame: {type(error).__name__}: {error}"
        raise DataError([Flaw(str(path), reason)]) from None
