"""What every reader shares: the record of a file, what makes a row bad, and the tables that come out.

A bad row never takes others with it: it becomes a Flaw that names file and line, and the caller decides whether flaws
end the run or are counted. No message repeats the text of a row, which may be offensive or private.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.config.languages import read_tag

SHOWN_FLAWS = 20  # in one message
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet",)
CSV = (".csv",)  # with a header; fields are text
# What R, pandas and spreadsheets write into text files if there is no value. As a text, each of them is a text.
MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null"))


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
    content: bytes | dict[str, Any] | RowError  # JSON, or what its file gives: fields, or what is wrong with them

    def fields(self) -> dict[str, Any]:
        """The record as a mapping. Raises RowError."""
        if isinstance(self.content, RowError):
            raise self.content
        if isinstance(self.content, dict):
            return self.content
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(not_utf8(self.content[error.start], f"byte {error.start + 1} of the line")) from None
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
    tags: Mapping[str, int] = MappingProxyType({})  # language tags in the whole source, as written -> rows

    def instead_of(self, languages: Sequence[str]) -> str:
        """Return what the source's rows are in, for a message that it has none in these languages."""
        if any(read_tag(tag) in languages for tag in self.tags):
            return ""
        listed = ", ".join(f"{tag[:20]!r}: {count}" for tag, count in Counter(self.tags).most_common(10))
        return f" (its rows are in {listed})" if listed else ""


def kind(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null", bytes: "bytes"}
    return names.get(type(value), "a number" if isinstance(value, Real | Decimal) else type(value).__name__)


def shown(value: Any) -> str:
    """Return a value as a message shows it: a number, or one or two short words; else its kind, for text is private."""
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str) and re.fullmatch(r"[\w.,+/%-]+( [\w.,+/-]+)?", value.strip()) and len(value) <= 20:
        decimal_comma = re.fullmatch(r"[+-]?\d+,\d+", value.strip())
        return repr(value.strip()) + (" (write a point, not a comma)" if decimal_comma else "")
    return kind(value)


def not_utf8(byte: int, place: str) -> str:
    """Return the reason why a record with such a byte is bad. ``place``: as "byte 12 of the line"."""
    character = bytes([byte]).decode("cp1252", "ignore")
    guess = f"; in Windows-1252, as Excel writes plain CSV, it is {character!r}" if character.isprintable() else ""
    return f"is not UTF-8 text ({place}){guess if character else ''}: save the file as UTF-8"


def is_blank(text: str) -> bool:
    """Nothing in it that could be seen: only spaces, separators, control and format characters."""
    return all(unicodedata.category(character)[0] in "ZC" for character in text)


class Columns:
    """The columns that a file's rows have, so that what none of them has is said once and not for every line."""

    def __init__(self, path: Path, needed: Sequence[str]):
        self.path, self.needed = path, tuple(needed)
        self._seen: dict[str, None] = {}  # in the order in which they came

    def saw(self, fields: Mapping[str, Any]) -> None:
        if not fields.keys() <= self._seen.keys():
            self._seen.update(dict.fromkeys(fields))

    def check(self) -> None:
        """Raises DataError with each needed column that no row has, and what the rows have instead."""
        absent = [column for column in self.needed if self._seen and column not in self._seen]
        if not absent:
            return
        rule = f"every row needs {', '.join(self.needed)}{self.there()}"
        raise DataError([Flaw(str(self.path), f"no row has a {column!r}; {rule}") for column in absent])

    def there(self) -> str:
        """Return the columns that are there, for a message that one is missing."""
        # Only what looks like a name: a key, too, could hold text.
        names = [name for name in self._seen if re.fullmatch(r"\w{1,40}", name)]
        if names:
            return f" (there are {', '.join(names[:10])}{', …' if len(names) > 10 else ''})"
        return " (the first line of a CSV names its columns)" if self.path.suffix in CSV else ""

    def without_language(self, languages: str) -> str | None:
        """Return what to say if rows do not name their language but have a column that looks as if it did."""
        like = [name for name in self._seen if re.fullmatch(r"(?i)lang(uage)?([_ ]?(code|tag|id))?|locale", name)]
        if "language" in self._seen or not like:
            return None
        return f"{self.path}: no column 'language': its rows are taken to be in {languages} (there is {like[0]!r})"


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """Return the field's value; None if it is missing, null, or the NaN that pandas writes for it."""
    value = fields.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


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
    value = value_of(fields, name)
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
    """Return the source's own index as text, None if it has none. Raises RowError.

    pandas makes 12.0 of 12 where other rows have none: it is 12 again.
    """
    value = value_of(fields, name)
    if isinstance(value, str):
        if value.strip().lower() in MISSING:
            return None
        whole = re.fullmatch(r"\s*([+-]?\d+)\.0+\s*", value)
        return _encodable(whole.group(1) if whole else value, name)
    if value is None:
        return None
    if isinstance(value, Real) and not isinstance(value, int):  # NumPy's, too
        value = int(float(value)) if float(value).is_integer() else value
    elif isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"{name} must be text or a whole number, not {shown(value)}")
    return str(value)


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
