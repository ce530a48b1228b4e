"""Read the fields of one record as text, numbers, indices or JSON, or say why they cannot be used.

The same value means the same in CSV, JSON Lines and Parquet, whichever program wrote it. No message repeats a text.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

# Words that R, pandas and spreadsheets write for a missing value. In a field of text, they are ordinary text.
MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "none", "null"))


class RowError(ValueError):
    """A row that cannot be used. The message gives the reason, without the place."""


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """Return the field's value; None if it is missing, null, or NaN, which pandas writes for missing values."""
    value = fields.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def texts_of(fields: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the texts of several fields, as `text_of`. Raises RowError with all that is wrong in any of them."""
    texts, reasons = [], []
    for name in names:
        try:
            texts.append(text_of(fields, name))
        except RowError as error:
            reasons.append(str(error))
    if reasons:
        raise RowError("; ".join(reasons))
    return texts


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Return the field's text, unchanged. Raises RowError if it is missing, not text, or blank."""
    value = value_of(fields, name)
    if value is None:
        raise RowError(f"has no field {name!r}")
    if not isinstance(value, str):
        chat = isinstance(value, list) and value and all(isinstance(part, dict) and "content" in part for part in value)
        actual = "a list of chat messages: write their text instead" if chat else json_type(value)
        raise RowError(f"{name} must be text, not {actual}")
    if is_blank(value):
        raise RowError(f"{name} is empty")
    return _encodable(value, name)


def number_of(fields: Mapping[str, Any], name: str) -> float | None:
    """Return the field's number, which a CSV holds as text; None if it is missing. Raises RowError if not finite."""
    value = value_of(fields, name)
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    number = math.nan if isinstance(value, bool) else as_number(value)
    if not math.isfinite(number):
        raise RowError(f"{name} must be a finite number, not {displayed(value)}")
    return number


def as_number(value: Any) -> float:
    """Return a value from any kind of file as a number; NaN if it is not one."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def index_of(fields: Mapping[str, Any], name: str) -> str | None:
    """Return the source's own index as text; None if the row has none. Raises RowError if it has another type.

    A whole number that is written as 12.0 becomes "12": pandas writes integers so if some rows have none.
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
        raise RowError(f"{name} must be text or a whole number, not {displayed(value)}")
    return str(value)


def json_of(fields: Mapping[str, Any], name: str) -> str | None:
    """Return the field as JSON text; None if it is missing. Text that is a JSON object already stays as it is.

    Raises RowError if JSON cannot express the value.
    """
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
    """Return a row of PAIRS. Raises RowError if a completion is blank or both are the same."""
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if is_blank(text):
            raise RowError(f"the {name} completion adds nothing to the prompt")
    if chosen == rejected:
        raise RowError("the chosen and the rejected completion are the same")
    return {"pair_id": pair_id, "prompt": prompt, "chosen": chosen, "rejected": rejected, "language": language}


def row_id(language: str, row: int) -> str:
    """Return the id of a row, such as "fr-00012", from its language and its ordinal in its source."""
    return f"{language}-{row:05d}"


def is_blank(text: str) -> bool:
    """Return whether a text shows nothing: only spaces, separators, control and format characters."""
    return all(unicodedata.category(character)[0] in "ZC" for character in text)


def json_type(value: Any) -> str:
    """Return the JSON name of a value's type, with an article."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null", bytes: "bytes"}
    return names.get(type(value), "a number" if isinstance(value, Real | Decimal) else type(value).__name__)


def displayed(value: Any) -> str:
    """Return a value as a message shows it: a number, or one or two short words; else its type, as text is private."""
    if isinstance(value, Real | Decimal) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str) and re.fullmatch(r"[\w.,+/%-]+( [\w.,+/-]+)?", value.strip()) and len(value) <= 20:
        decimal_comma = re.fullmatch(r"[+-]?\d+,\d+", value.strip())
        return repr(value.strip()) + (" (write a point, not a comma)" if decimal_comma else "")
    return json_type(value)


def not_utf8(byte: int, place: str) -> str:
    """Return why a record with a byte that is not UTF-8 is bad. ``place`` is a phrase such as "byte 12 of the line"."""
    character = bytes([byte]).decode("cp1252", "ignore")
    guess = f"; in Windows-1252, as Excel writes plain CSV, it is {character!r}" if character.isprintable() else ""
    return f"is not UTF-8 text ({place}){guess if character else ''}: save the file as UTF-8"


def _encodable(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell "\\ud83d" alone
        raise RowError(f"{name} contains half of a surrogate pair, which is not a character") from None
    return text
