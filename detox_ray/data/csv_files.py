"""Read CSV files, as common programs write them, into records with the line on which each begins.

Excel writes ";" in half of Europe, tabs in its "Unicode text" (UTF-16), and sometimes a first line `sep=;`. The
delimiter is the one that this line states, or else the one that splits the header into the most columns. There is no
limit on the length of a field.

A record with mismatched quotes is bad but does not take others with it: reading resumes at the next line that is a
complete record. Each line before that counts as a bad record, too, so that none is lost silently. A record with more or
fewer fields than the header is also bad. Causes are R's row names, a comma at the end, an unquoted comma or line break,
or a file that was cut off.
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
LONGEST_FIELD = 2**31 - 1  # the highest limit that the csv module accepts on every platform
_FIELD_LIMIT_LOCK = threading.Lock()
_STRAY_LINE = "is not a complete record, and follows one with mismatched quotes"


class CsvForm(NamedTuple):
    """The encoding and the separators of a CSV file."""

    encoding: str
    newline: str  # "\n" (also for "\r\n"), or "\r" as on old Macs
    delimiter: str
    stated: bool  # by a first line `sep=;`

    @property
    def errors(self) -> str:
        """Return how `open` treats bytes that cannot be decoded. In UTF-8, only their record is bad."""
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
    with _without_limit():
        columns = {delimiter: len(next(csv.reader([first], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    return CsvForm(encoding, newline, max(DELIMITERS, key=lambda delimiter: columns[delimiter]), False)


def csv_records(path: Path, first_row: int = 0) -> Iterator[Record]:
    """Yield all records except blank ones. Raises OSError and UnicodeDecodeError, and DataError for a bad header."""
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
    """Return the name of a delimiter for messages."""
    return "tabs" if delimiter == "\t" else repr(delimiter)


def _fields(values: Sequence[str], header: Sequence[str], delimiter: str) -> dict[str, str] | RowError:
    if len(values) != len(header):
        return RowError(_wrong_length(values, header, delimiter))
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        byte = ord(error.object[error.start]) - 0xDC00  # as surrogateescape encodes it
        return RowError(not_utf8(byte, f"byte 0x{byte:02X}"))
    # pandas and R write row numbers into a first column without a name.
    return {name: value for name, value in zip(header, values, strict=True) if name}


def _wrong_length(values: Sequence[str], header: Sequence[str], delimiter: str) -> str:
    """Return what is wrong with a record that has more or fewer fields than the header, and what to do."""
    between = _between(delimiter)
    plural = "" if len(values) == 1 else "s"
    counts = f"has {len(values)} field{plural}, the header {len(header)} (between fields: {between})"
    if len(values) < len(header):
        return f"{counts}: is the row cut off, or does a text have a line break outside quotes?"
    if not any(value.strip() for value in values[len(header) :]):
        return f"{counts}; the last is empty: remove the {between} at the end of the line, or name the column"
    if len(values) == len(header) + 1:
        return (
            f"{counts}: are these row names? Write the file without them (in R row.names = FALSE), or name their "
            f"column; or does a text have a {between} outside quotes?"
        )
    return f"{counts}: does a text have a {between} outside quotes?"


class _Lines:
    """An iterator over the lines of a text that can put lines of the current record back."""

    def __init__(self, text: Iterator[str]):
        self._text = text
        self._given_back: deque[str] = deque()
        self.taken: list[str] = []  # lines of the current record
        self.before = 0  # number of lines before the current record

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._text)
        self.taken.append(line)
        return line

    def begin(self) -> None:
        """Start a new record at the next line."""
        self.before += len(self.taken)
        self.taken = []

    def give_back(self, keep: int) -> None:
        """Put back all lines of the record except the first ``keep``."""
        self._given_back.extendleft(reversed(self.taken[keep:]))
        self.taken = self.taken[:keep]


class _RecordReader:
    """A CSV reader that resumes after a bad record."""

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
        """Return the columns' names, "" for a column without one; an empty list if the file is empty.

        Raises DataError if the quotes do not match or a name repeats.
        """
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
        """Yield the line of each record below the header, counted from 1, and its fields or what is wrong with them."""
        recovering = False  # True after mismatched quotes, until the next complete record
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
                # A quote was never closed, and a quote of another record seemed to close it.
                reason = self._bad_quotes(None)
                self._lines.give_back(keep=1)
                recovering = True
                yield line, RowError(reason)
            else:
                recovering = False
                yield line, values

    def _begin(self) -> int | None:
        """Start a new record. Return its line, counted from 1, or None at the end of the file."""
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
            return "has a carriage return outside quotes: put the whole text into quotes"
        if "end of data" in str(error):
            return "opens a quote that is never closed"
        last = self._lines.before + len(self._lines.taken)
        if len(self._lines.taken) > 1:
            return f"opens a quote that is not closed before another one on line {last}"
        return 'has mismatched quotes: inside a quoted field, write each quote twice ("")'


@contextmanager
def _without_limit() -> Iterator[None]:
    """Lift the csv module's limit on the length of a field. The limit is global to the process, hence the lock."""
    with _FIELD_LIMIT_LOCK:
        before = csv.field_size_limit(LONGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(before)
