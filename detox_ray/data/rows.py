"""Types that all readers share: records of files, flaws, and rows.

A bad row does not affect others: it becomes a `Flaw` that names file and line, and the caller decides whether flaws
stop the run or are counted. No message repeats the text of a row, which may be offensive or private.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.config.languages import read_tag
from detox_ray.data.fields import RowError, json_type, not_utf8

SHOWN_FLAWS = 20  # most flaws in one message
# Python writes NaN and Infinity although they are not JSON; as labels they mean "not known". One decoder serves all
# lines, because json.loads with options creates a new one at each call.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
CSV = (".csv",)  # with a header; fields are text
FILE_ENDINGS = JSON_LINES + PARQUET + CSV


class Flaw(NamedTuple):
    """A row or a file that cannot be used."""

    where: str  # "path:line" (in Parquet "path:row"), both counted from 1, or "path"
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class DataError(InputError):
    """Data that cannot be used as the experiment asks. `flaws` holds all flaws; the message shows the first twenty."""

    def __init__(self, flaws: Sequence[Flaw]):
        super().__init__(flaws)
        self.flaws = tuple(flaws)

    def __str__(self) -> str:
        lines = [str(flaw) for flaw in self.flaws[:SHOWN_FLAWS]]
        if len(self.flaws) > SHOWN_FLAWS:
            lines.append(f"and {len(self.flaws) - SHOWN_FLAWS} more")
        return "\n".join(lines)


class Rows(NamedTuple):
    """A table of good rows, with a record of what was left out."""

    table: pa.Table
    skipped: list[str]  # "path:line: reason" for each bad row that was left out
    notes: list[str]  # other remarks, for the report, on how the rows were read


@dataclass(frozen=True)
class LanguageRows:
    """The content of a source in one language."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # rows of the table, in the source's order
    flaws: list[Flaw] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tags: Mapping[str, int] = field(default_factory=dict)  # tag as written -> number of rows, in the whole source

    def other_languages(self, languages: Sequence[str]) -> str:
        """Return the languages of the source's rows, to end a message that none is in ``languages``."""
        if any(read_tag(tag) in languages for tag in self.tags):
            return ""
        listed = ", ".join(f"{tag[:20]!r}: {count}" for tag, count in Counter(self.tags).most_common(10))
        return f" (its rows are in {listed})" if listed else ""


class Record(NamedTuple):
    """One record of a file, not yet parsed."""

    line: int  # line of the file, or row of a Parquet file, counted from 1
    row: int  # ordinal in the source, counted from 0; includes bad records, so that ids are stable
    content: bytes | dict[str, Any] | RowError  # a line of JSON; or fields, or what is wrong with them

    def fields(self) -> dict[str, Any]:
        """Return the record as a mapping. Raises RowError if it cannot be read as one."""
        if isinstance(self.content, RowError):
            raise self.content
        if isinstance(self.content, dict):
            return self.content
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(not_utf8(self.content[error.start], f"byte {error.start + 1} of the line")) from None
        try:
            fields = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            raise RowError(f"is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
        except (ValueError, RecursionError) as error:
            raise RowError(f"is not usable JSON: {error}") from None
        if not isinstance(fields, dict):
            raise RowError(f"must be a JSON object, not {json_type(fields)}")
        return fields


class Columns:
    """The columns that a file's rows have, so that a missing column is reported once and not for every line."""

    def __init__(self, path: Path, needed: Sequence[str]):
        self.path, self.needed = path, tuple(needed)
        self._names: dict[str, None] = {}  # in the order of their first occurrence

    def add(self, fields: Mapping[str, Any]) -> None:
        """Add the columns of one row."""
        if not fields.keys() <= self._names.keys():
            self._names.update(dict.fromkeys(fields))

    def check(self) -> None:
        """Raise DataError if no row has a needed column. The message lists the columns that exist."""
        absent = [column for column in self.needed if self._names and column not in self._names]
        if not absent:
            return
        rule = f"every row needs {', '.join(self.needed)}{self.listed()}"
        raise DataError([Flaw(str(self.path), f"no row has a {column!r}; {rule}") for column in absent])

    def listed(self) -> str:
        """Return the columns that exist, to end a message that one is missing."""
        # Show only what looks like a name, because a key could be private text, too.
        names = [name for name in self._names if re.fullmatch(r"\w{1,40}", name)]
        if names:
            return f" (columns: {', '.join(names[:10])}{', …' if len(names) > 10 else ''})"
        return " (the first line of a CSV names its columns)" if self.path.suffix in CSV else ""

    def language_note(self, languages: str) -> str | None:
        """Return a note if no column is named `language` but another one seems to hold the rows' language."""
        similar = [name for name in self._names if re.fullmatch(r"(?i)lang(uage)?([_ ]?(code|tag|id))?|locale", name)]
        if "language" in self._names or not similar:
            return None
        return f"{self.path}: has no column 'language', so all rows count as {languages} (rename {similar[0]!r}?)"
