"""CSV files as people's programs write them -> records, each with the line on which it begins.

Excel writes ";" in half of Europe, tabs into its "Unicode text" (UTF-16), and a first line `sep=;`: the delimiter is
what that line says, else the one that splits the header into the most columns. Fields may be as long as they like.

A record whose quotes do not fit is bad, and takes no other with it: reading resumes at the next line that is a whole
record, and each line before that is a bad record too, so that no line goes missing unseen. A record with more or fewer
fields than the header is bad: R's row names, a comma at the end, an unquoted comma or line break, a file that was cut
off.
"""

import csv
import re
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from detox_ray.data.fields import RowError, not_utf8
from detox_ray.data.rows import DataError, Flaw, Record
from detox_ray.data.text_encoding import encoding_of

DELIMITERS = (",", ";", "\t", "|")
LONGEST_FIELD = 2**31 - 1  # all that every platform's csv module takes
_FIELD_LIMIT_LOCK = threading.Lock()
_STRAY_LINE = "is not a whole record, and follows one whose quotes do not fit"


class CsvForm(NamedTuple):
    """How a CSV file is written."""

    encoding: str
    newline: str  # "\n" (also for "\r\n"), or "\r" as on old Macs
    delimiter: str
    stated: bool  # by a first line `sep=;`

    @property
    def errors(self) -> str:
        """Return how `open` treats bytes that are not text: in UTF-8, they are a fault of their record alone."""
        return "surrogateescape" if self.encoding.startswith("utf-8") else "strict"

    def note(self) -> str | None:
        """Return a note if the encoding or the delimiter is unusual, else None."""
        unusual = []
        if self.errors == "strict":
            unusual.append(self.encoding.upper())
        if self.delimiter != ",":
            unusual.append(f"{_between(self.delimiter)} between fields")
        return f"read as CSV with {' and '.join(unusual)}" if unusual else None


def form_of(path: Path) -> CsvForm:
    """Return how the file is written, by its first line. Raises OSError, UnicodeDecodeError and DataError."""
    encoding = encoding_of(path)
    form = CsvForm(encoding, "\n", ",", False)
    with path.open(encoding=encoding, errors=form.errors, newline="") as text:
        first = next((line for line in text if line.strip()), "")
    newline = "\r" if first.endswith("\r") else "\n"
    if stated := re.fullmatch(r'"?sep=(.)"?', first.rstrip("\r\n"), re.IGNORECASE):
        return CsvForm(encoding, newline, stated.group(1), True)
    columns = {delimiter: len(next(csv.reader([first], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    return CsvForm(encoding, newline, max(DELIMITERS, key=lambda delimiter: columns[delimiter]), False)


def csv_records(path: Path, first_row: int = 0) -> Iterator[Record]:
    """Yield the records but blank ones. Raises OSError and UnicodeDecodeError, and DataError for a bad header."""
    form = form_of(path)
    with path.open(encoding=form.encoding, errors=form.errors, newline=form.newline) as text:
        reader = _RecordReader(text, form.delimiter)
        if form.stated:
            reader.skip_line()
        header = reader.header(path)
        row = first_row
        for line, values in reader.records(len(header)):
            content = values if isinstance(values, RowError) else _fields(values, header, form.delimiter)
            yield Record(line, row, content)
            row += 1


def _between(delimiter: str) -> str:
    """Return how a message calls what stands between fields."""
    return "tabs" if delimiter == "\t" else repr(delimiter)


def _fields(values: Sequence[str], header: Sequence[str], delimiter: str) -> dict[str, str] | RowError:
    if len(values) != len(header):
        return RowError(_wrong_length(values, header, delimiter))
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        byte = ord(error.object[error.start]) - 0xDC00  # as surrogateescape encodes it
        return RowError(not_utf8(byte, f"byte 0x{byte:02X}"))
    # pandas and R write a column without a name before the others: the rows' numbers.
    return {name: value for name, value in zip(header, values, strict=True) if name}


def _wrong_length(values: Sequence[str], header: Sequence[str], delimiter: str) -> str:
    """Return what is wrong with a record that has more or fewer fields than the header, and what to do."""
    between = _between(delimiter)
    plural = "" if len(values) == 1 else "s"
    counts = f"has {len(values)} field{plural}, the header {len(header)} (between fields: {between})"
    if len(values) < len(header):
        return f"{counts}: is the row cut off, or does a line break in a text stand outside quotes?"
    if not any(value.strip() for value in values[len(header) :]):
        return f"{counts}; the last is empty: take the {between} at the end of the line away, or name the column"
    if len(values) == len(header) + 1:
        return (
            f"{counts}: row names? Write the file without them (in R row.names = FALSE), or name their column; "
            f"or does a {between} in a text stand outside quotes?"
        )
    return f"{counts}: does a {between} in a text stand outside quotes?"


class _Lines:
    """An iterator over the lines of a text that takes back lines of the current record."""

    def __init__(self, text: Iterator[str]):
        self._text = text
        self._given_back: deque[str] = deque()
        self.taken: list[str] = []  # lines of the current record
        self.before = 0  # number of lines before it

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._text)
        self.taken.append(line)
        return line

    def begin(self) -> None:
        """Begin a record."""
        self.before += len(self.taken)
        self.taken = []

    def give_back(self, keep: int) -> None:
        """Give back all lines of the record but the first ``keep``."""
        self._given_back.extendleft(reversed(self.taken[keep:]))
        self.taken = self.taken[:keep]


class _RecordReader:
    """A reader of CSV that resumes after a bad record."""

    def __init__(self, text: Iterator[str], delimiter: str):
        self._lines = _Lines(text)
        self._delimiter = delimiter
        self._reader = self._new_reader()
        unquoted = rf'[^"{re.escape(delimiter)}\r\n]*'
        field = rf'({unquoted}|"([^"]|"")*")'
        self._whole_record = re.compile(rf"{field}({re.escape(delimiter)}{field})*[\r\n]*")

    def skip_line(self) -> None:
        """Skip the first line that is not blank."""
        while not next(self._lines).strip():
            pass

    def header(self, path: Path) -> list[str]:
        """Return the columns' names, "" for a column without one; no names if the file is empty. Raises DataError."""
        while (line := self._begin()) is not None:
            try:
                names = [name.strip() for name in self._read()]
            except csv.Error as error:
                raise DataError([Flaw(f"{path}:{line}", self._bad_quotes(error))]) from None
            if any(names):
                break
        else:
            return []
        repeated = sorted({name for name in names if name and names.count(name) > 1})
        if repeated:
            reason = f"the header names {', '.join(map(repr, repeated))} more than once"
            raise DataError([Flaw(f"{path}:{line}", reason)])
        return names

    def records(self, columns: int) -> Iterator[tuple[int, list[str] | RowError]]:
        """Yield the records below the header: the line, from 1, and the fields or what is wrong with them."""
        recovering = False  # after bad quotes, until a whole record is found
        while (line := self._begin()) is not None:
            try:
                values = self._read()
            except csv.Error as error:
                reason = _STRAY_LINE if recovering else self._bad_quotes(error)
                self._lines.give_back(keep=1)
                self._reader, recovering = self._new_reader(), True
                yield line, RowError(reason)
                continue
            if not values or (columns > 1 and not any(value.strip() for value in values)):
                continue
            whole = len(values) == columns
            if recovering and not (whole and self._whole_record.fullmatch("".join(self._lines.taken))):
                self._lines.give_back(keep=1)
                yield line, RowError(_STRAY_LINE)
            elif not whole and len(self._lines.taken) > 1:
                # A quote that was never closed, until another record's quote seemed to close it.
                reason = self._bad_quotes(None)
                self._lines.give_back(keep=1)
                recovering = True
                yield line, RowError(reason)
            else:
                recovering = False
                yield line, values

    def _begin(self) -> int | None:
        """Begin a record; return its line, from 1, or None at the end of the file."""
        self._lines.begin()
        try:
            next(self._lines)
        except StopIteration:
            return None
        self._lines.give_back(keep=0)
        return self._lines.before + 1

    def _read(self) -> list[str]:
        """Return the fields of the record. Raises csv.Error."""
        try:
            return next(self._reader)
        except csv.Error as error:
            if "field limit" not in str(error):
                raise
        self._lines.give_back(keep=0)
        self._reader = self._new_reader()
        with _without_limit():
            return next(self._reader)

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._delimiter, strict=True)

    def _bad_quotes(self, error: csv.Error | None) -> str:
        if "new-line character" in str(error):
            return "a carriage return stands outside quotes: put the text that holds it into quotes"
        if "end of data" in str(error):
            return "opens a quote that is never closed"
        last = self._lines.before + len(self._lines.taken)
        if len(self._lines.taken) > 1:
            return f"opens a quote that is not closed before another one on line {last}"
        return 'holds a quote that does not fit: within a quoted field, a quote is written twice ("")'


@contextmanager
def _without_limit() -> Iterator[None]:
    """Lift the csv module's limit on a field's length, which holds for the whole process."""
    with _FIELD_LIMIT_LOCK:
        before = csv.field_size_limit(LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(before)
