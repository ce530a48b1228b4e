"""The rows of files of texts: each row's text and language, or why it cannot be used. No row is left out.

A file is JSON Lines, CSV or Parquet, by its ending, as everywhere (`detox_ray.data.record_files`). It is read row by
row, so that a file may be larger than memory.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import Problem
from detox_ray.config.languages import is_tag, read_tag
from detox_ray.data.fields import RowError, json_type, value_of
from detox_ray.data.record_files import records
from detox_ray.data.rows import FILE_ENDINGS, Columns


class TextColumns(NamedTuple):
    """The names of the columns with a row's text and language."""

    text: str = "text"
    language: str = "language"
    fallback: str | None = None  # language of rows that name none
    keep: tuple[str, ...] = ()  # columns that the output keeps


class TextRow(NamedTuple):
    """One row of a file."""

    place: str  # "file:line"
    text: str | None  # None if the row has none or cannot be read
    language: str | None  # a code; None if the row names none
    reason: str | None  # why the row cannot be used; None if it can
    kept: dict[str, str | None]  # of the columns to keep, as text


def check_files(paths: Sequence[Path]) -> list[Problem]:
    """Check that each file is there and of a kind that can be read."""
    problems = []
    for path in paths:
        if not path.is_file():
            problems.append(Problem("FILE", str(path), "must be an existing file"))
        elif path.suffix not in FILE_ENDINGS:
            problems.append(Problem("FILE", str(path), f"must end in one of {' '.join(FILE_ENDINGS)}"))
    return problems


@lru_cache(maxsize=4096)  # a file names few languages, in every row
def language_code(tag: str) -> str | None:
    """Return the code of a language tag: this project's if it knows the language; None if it is no tag.

    A region is dropped (``uk-UA`` is ``uk``), but a transliteration of a known language stays apart (``hi-latn``).
    """
    if not is_tag(tag):
        return None
    plain = tag.strip().lower().replace("_", "-")
    primary = plain.partition("-")[0]
    return read_tag(tag) or (plain if read_tag(primary) else primary)


def read_rows(path: Path, columns: TextColumns) -> Iterator[TextRow]:
    """Yield all rows but blank lines. Raises DataError if the file cannot be read or no row has the text column."""
    seen = Columns(path, (columns.text,))
    for record in records(path):
        place = f"{path}:{record.line}"
        try:
            fields = record.fields()
        except RowError as error:
            yield TextRow(place, None, None, str(error), {})
            continue
        seen.add(fields)
        yield _row(place, fields, columns)
    seen.check()


def _row(place: str, fields: dict[str, Any], columns: TextColumns) -> TextRow:
    kept = {name: _as_text(value_of(fields, name)) for name in columns.keep}
    text, tag = value_of(fields, columns.text), value_of(fields, columns.language)
    if text is not None and not isinstance(text, str):
        return TextRow(place, None, None, f"{columns.text} must be text, not {json_type(text)}", kept)
    language = columns.fallback
    if tag is not None and str(tag).strip():
        language = language_code(str(tag))
        if language is None:
            return TextRow(place, text, None, f"{columns.language} must be a language tag, such as en or pt-BR", kept)
    if not _is_unicode(text or ""):
        return TextRow(
            place, None, language, f"{columns.text} holds half of a surrogate pair, which is no character", kept
        )
    return TextRow(place, text or "", language, None, kept)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell "\\ud83d" alone
        return False
    return True


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
