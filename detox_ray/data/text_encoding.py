"""Find the encoding of a text file: the one of its byte order mark, else UTF-8."""

import codecs
from pathlib import Path

from detox_ray.data.rows import DataError, Flaw

# UTF-32's mark begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(path: Path) -> str:
    """Return the codec that reads the file without its byte order mark.

    Raises:
        DataError: The file is UTF-16 or UTF-32 without a mark, so its byte order would be a guess.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    # A file begins with a column's name or a brace, so its first two characters take one byte each in UTF-8.
    zeros = [byte == 0 for byte in head]
    if zeros in (
        [False, True, False, True],
        [True, False, True, False],
        [False, True, True, True],
        [True] * 3 + [False],
    ):
        width = "UTF-32" if sum(zeros) == 3 else "UTF-16"
        reason = f"looks like {width} text without a byte order mark: save it as UTF-8"
        raise DataError([Flaw(str(path), reason)])
    return "utf-8"
