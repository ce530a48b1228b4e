"""What every reader shares: records of a file, what makes a row bad, and the tables that come out.

A bad row never takes others with it: it becomes a Flaw that names file and line, and the caller decides whether flaws
end the run or are counted. No message repeats the text of a row, which may be offensive or private.
"""

import codecs
import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.config import InputError

SHOWN_FLAWS = 20  # in one message
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
CSV = (".csv",)  # with a header; fields are text


class Flaw(NamedTuple):
    """One thing wrong with the data: a row that cannot be used, or a file."""

    where: str  # "path:line" (in Parquet "path:row", from 1), or "path"
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class DataError(InputError):
    """The data cannot be used as the experiment asks. Holds every flaw found; the message shows the first twenty."""

    def __init__(self, flaws: Sequence[Flaw]):
        super().__init__(flaws)
        self.flaws = tuple(flaws)

    def __str__(self) -> str:
        shown = [str(flaw) for flaw in self.flaws[:SHOWN_FLAWS]]
        if len(self.flaws) > SHOWN_FLAWS:
            shown.append(f"and {len(self.flaws) - SHOWN_FLAWS} more")
        return "\n".join(shown)


class RowError(ValueError):
    """Why one row cannot be used."""


class Rows(NamedTuple):
    """What a reader gives."""

    table: pa.Table
    skipped: list[str]  # "path:line: reason" of each bad row that was left out
    notes: list[str]  # what else a reader of the report should know of how the rows came to be


class Record(NamedTuple):
    """One record of a file, not yet parsed."""

    line: int  # from 1: line of the file, or row of a Parquet file
    row: int  # from 0: ordinal of the record in its source, bad ones counted, so that ids are stable
    content: bytes | dict[str, Any]

    def fields(self) -> dict[str, Any]:
        """The record as a mapping. Raises RowError."""
        if isinstance(self.content, dict):
            if None in self.content:  # where csv puts what is too much
                raise RowError("has more fields than the header")
            return self.content
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"is not UTF-8 text (byte {error.start + 1} of the line)") from None
        try:
            # NaN and Infinity are not JSON, though Python writes them; as labels they mean "not known".
            fields = json.loads(text, parse_constant=lambda _: None)
        except json.JSONDecodeError as error:
            raise RowError(f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise RowError(f"is not usable JSON: {error}") from None
        if not isinstance(fields, dict):
            raise RowError(f"must be a JSON object, not {kind(fields)}")
        return fields


class Share(NamedTuple):
    """What a source holds of one language: rows of its table, flaws and notes."""

    rows: list[dict[str, Any]]
    flaws: list[Flaw]
    notes: list[str]


def parse(path: Path, share: Share, build: Callable[[Record], dict[str, Any] | None], first_row: int = 0) -> int:
    """Put what ``build`` makes of each record into ``share``: a row, a flaw (RowError), or nothing (None).

    Returns the number of records.
    """
    count = 0
    for record in records(path, first_row):
        count += 1
        try:
            row = build(record)
        except RowError as error:
            share.flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        else:
            if row is not None:
                share.rows.append(row)
    return count


def records(path: Path, first_row: int = 0) -> Iterator[Record]:
    """The records of a JSON Lines, Parquet or CSV file, blank lines left out. Raises DataError if it cannot be read."""
    try:
        if path.suffix in PARQUET:
            rows = 0
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    for fields in batch.to_pylist():
                        yield Record(rows + 1, first_row + rows, fields)
                        rows += 1
            return
        if path.suffix in CSV:
            with path.open(encoding="utf-8-sig", newline="") as text:
                table = csv.DictReader(text, strict=True)
                for place, fields in enumerate(table):
                    yield Record(table.line_num, first_row + place, fields)
            return
        row = first_row
        with path.open("rb") as stream:
            # A binary stream splits on "\n" only; text may hold U+2028 and others that str.splitlines breaks at.
            for number, line in enumerate(stream, 1):
                content = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
                if content:
                    yield Record(number, row, content)
                    row += 1
    except csv.Error as error:
        raise DataError([Flaw(f"{path}:{table.line_num}", f"is not CSV: {error}")]) from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        if not path.exists():
            reason = "cannot be read: no such file"
        elif path.suffix in PARQUET:
            reason = f"is damaged or no Parquet file: {str(error).splitlines()[0]}"
        else:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError([Flaw(str(path), reason)]) from None


def kind(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def is_blank(text: str) -> bool:
    """Nothing in it that could be seen: only spaces, separators, control and format characters."""
    return all(unicodedata.category(character)[0] in "ZC" for character in text)


class Columns:
    """The columns that a file's rows have, so that what none of them has is said once and not for every line."""

    def __init__(self, path: Path, needed: Sequence[str]):
        self.path, self.needed = path, tuple(needed)
        self._seen: dict[str, None] = {}  # in the order in which they came

    def saw(self, fields: dict[str, Any]) -> None:
        if not fields.keys() <= self._seen.keys():
            self._seen.update(dict.fromkeys(fields))

    def check(self) -> None:
        """Raises DataError with each needed column that no row has, and what the rows have instead."""
        absent = [column for column in self.needed if self._seen and column not in self._seen]
        if not absent:
            return
        # Only what looks like a name: a key, too, could hold text.
        names = [name for name in self._seen if re.fullmatch(r"\w{1,40}", name)]
        found = f" (there are {', '.join(names[:10])}{', …' if len(names) > 10 else ''})" if names else ""
        rule = f"every row needs {', '.join(self.needed)}{found}"
        raise DataError([Flaw(str(self.path), f"no row has a {column!r}; {rule}") for column in absent])


def texts_of(fields: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The fields' texts, as `text_of`. Raises RowError with everything wrong with all of them."""
    texts, wrong = [], []
    for name in names:
        try:
            texts.append(text_of(fields, name))
        except RowError as error:
            wrong.append(str(error))
    if wrong:
        raise RowError("; ".join(wrong))
    return texts


def text_of(fields: dict[str, Any], name: str) -> str:
    """The field's text, as it stands. Raises RowError where it is missing, not text, or blank."""
    value = fields.get(name)
    if value is None:
        raise RowError(f"has no field {name!r}")
    if not isinstance(value, str):
        chat = isinstance(value, list) and value and all(isinstance(part, dict) and "content" in part for part in value)
        said = "a list of chat messages: give their text" if chat else kind(value)
        raise RowError(f"{name} must be text, not {said}")
    if is_blank(value):
        raise RowError(f"{name} is empty")
    return _encodable(value, name)


def index_of(fields: dict[str, Any], name: str) -> str | None:
    """The source's own index, as text; None where it has none. Raises RowError."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"{name} must be text or a whole number, not {kind(value)}")
    return _encodable(str(value), name)


def json_of(fields: dict[str, Any], name: str) -> str | None:
    """The field as JSON text; None where it has none. Text that holds a JSON object stays as it is. Raises RowError."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.startswith("{"):
        try:
            json.loads(value)
            return _encodable(value, name)
        except json.JSONDecodeError:
            pass
    try:
        return _encodable(json.dumps(value, ensure_ascii=False, allow_nan=False), name)
    except (ValueError, TypeError) as error:
        if isinstance(error, RowError):
            raise
        raise RowError(f"{name} cannot be written as JSON: {error}") from None


def pair_of(pair_id: str, prompt: str, chosen: str, rejected: str, language: str) -> dict[str, str]:
    """A row of PAIRS. Raises RowError where there is nothing to prefer."""
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if is_blank(text):
            raise RowError(f"the {name} completion is nothing but the prompt")
    if chosen == rejected:
        raise RowError("the chosen and the rejected completion are the same")
    return {"pair_id": pair_id, "prompt": prompt, "chosen": chosen, "rejected": rejected, "language": language}


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell "\\ud83d" alone
        raise RowError(f"{name} holds half of a surrogate pair, which is no character") from None
    return text


def row_id(language: str, row: int) -> str:
    return f"{language}-{row:05d}"
