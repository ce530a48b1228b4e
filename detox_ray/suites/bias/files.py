"""Readers of item files: decoding, records, and the language in a file's name.

Messages never quote the text of a row, which may be offensive.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config.languages import LANGUAGES, read_tag
from detox_ray.data import DataError, Flaw

# Encodings older than UTF-8, tried in order to suggest one that can read a file.
_OLD_ENCODINGS = ("cp1252", "mac_roman")
_TAG = re.compile(r"[a-z]{2,3}([-_]([a-z]{2}|[a-z]{4}|\d{3}))*")  # a language code, a script and a region
_CODES = {language.name.lower(): code for code, language in LANGUAGES.items()}


class Record(NamedTuple):
    """A record of a file, with its location for messages."""

    where: str  # "path:line"
    fields: dict[str, Any]


def text_of(path: Path, encoding: str = "utf-8") -> str:
    """Return a file's text. Raise DataError with the first invalid byte and a remedy if it has another encoding."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError:
        raise DataError([Flaw(str(path), f"encoding {encoding!r} is unknown to Python")]) from None
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8"
        for old in _OLD_ENCODINGS:
            if old != encoding and _decodes(raw, old):
                remedy += f", or set the set's `encoding` ({old} can decode all of its bytes: check a few words)"
                break
        reason = f"is not {encoding} at byte {error.start} (0x{raw[error.start]:02x}): {remedy}"
        raise DataError([Flaw(str(path), reason)]) from None


def csv_records(path: Path, needed: Sequence[str], encoding: str = "utf-8", delimiter: str = ",") -> list[Record]:
    """Return the rows of a CSV or TSV file with a header.

    Raises:
        DataError: The file cannot be read, or lacks a needed column; the message lists the columns it has.
    """
    reader = csv.DictReader(io.StringIO(text_of(path, encoding), newline=""), delimiter=delimiter)
    names = [name for name in reader.fieldnames or () if name is not None]
    if absent := [column for column in needed if column not in names]:
        present = ", ".join(name or "(unnamed)" for name in names) or "none"
        raise DataError([Flaw(str(path), f"lacks the columns {', '.join(absent)} (it has {present})")])
    return [Record(f"{path}:{reader.line_num}", {str(k): v for k, v in row.items()}) for row in reader]


def json_lines(path: Path) -> Iterator[Record]:
    """Yield the objects of a JSON Lines file. Raise DataError if a line is not a JSON object."""
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if line.strip():
            try:
                fields = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError([Flaw(f"{path}:{number}", f"is not JSON: {error.msg}")]) from None
            if not isinstance(fields, dict):
                raise DataError([Flaw(f"{path}:{number}", "must be a JSON object")])
            yield Record(f"{path}:{number}", fields)


def language_of(path: Path) -> str | None:
    """Return the language in a file's name, such as "ca_ES.csv", "catalan_spain_….csv", "crows_eng.csv", "…_de.jsonl".

    If the name has none, the folder's name may be a language tag ("ar_AR/…").
    """
    if _TAG.fullmatch(path.stem.lower()) and (code := read_tag(path.stem)):
        return code
    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word]
    if code := next((_CODES[word] for word in words if word in _CODES), None):
        return code
    # Many short words are also codes ("cat", "in", "por"), so a code counts only at the end of the name.
    ending = read_tag(words[-1]) if words else None
    return ending or read_tag(path.parent.name)


def one_file_each(paths: Iterable[Path], languages: Mapping[Path, str | None]) -> dict[str, Path]:
    """Return {language: file}. Raise DataError if a language has several files."""
    files: dict[str, list[Path]] = {}
    for path in sorted(paths):
        if (language := languages[path]) is not None:
            files.setdefault(language, []).append(path)
    flaws = [
        Flaw(str(several[1]), f"is a second file in {language} besides {several[0].name}: keep one of them")
        for language, several in files.items()
        if len(several) > 1
    ]
    if flaws:
        raise DataError(flaws)
    return {language: several[0] for language, several in files.items()}


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
