"""Read files with rows in several languages. Each row's field `language` names its language.

`language` is a tag (`languages.read_tag`; a note says that "pt-BR" was read as pt). It may be missing if only one
language is possible: the experiment's single one, or the one that the config states for pairs. Rows in languages that
were not asked for are left out, and a note counts them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detox_ray.config.languages import read_tag, tags_note
from detox_ray.data.fields import RowError, json_type, value_of
from detox_ray.data.record_files import format_note, records
from detox_ray.data.rows import FILE_ENDINGS, Columns, DataError, Flaw, LanguageRows, Record

Fields = dict[str, Any]


def rows_by_language(
    files: Sequence[Path],
    languages: Sequence[str],
    needed: Sequence[str],
    build: Callable[[Fields, str, int], Fields | None],
    enough: int | None = None,
) -> dict[str, LanguageRows]:
    """Return the rows of each language. A bad row of unknown language counts as one of the first language.

    Args:
        files: Files that form one source, in the order in which to read them.
        languages: Codes of the languages to return.
        needed: Columns that every row must have.
        build: Makes a row of the table from a record's fields, its language and its ordinal over all files. Returns
            None to leave a record out; raises RowError for a bad one.
        enough: Stop reading when each language has this many rows; None: read everything.

    Raises:
        DataError: A file cannot be read, or no row has a needed column.
    """
    for path in files:
        if path.is_dir():
            raise DataError([Flaw(str(path), "is a folder: give the path of one file in it")])
        if path.exists() and path.suffix not in FILE_ENDINGS:
            reason = f"must be JSON Lines, Parquet or CSV, so end in {' '.join(FILE_ENDINGS)}"
            raise DataError([Flaw(str(path), reason)])
    source = files[0] if len(files) == 1 else files[0].parent
    tags: Counter[str] = Counter()
    by_language = {language: LanguageRows(tags=tags) for language in languages}
    columns = Columns(source, (*needed, "language") if len(languages) > 1 else needed)
    for path, record in _records(files):
        language = languages[0]
        try:
            fields = record.fields()
            columns.add(fields)
            tag = _tag(fields)
            if tag is not None:
                tags[tag] += 1
                tagged = read_tag(tag)
                if tagged not in by_language:
                    continue
                language = tagged
            elif len(languages) > 1:
                raise RowError("has no field 'language'")
            row = build(fields, language, record.row)
            if row is not None:
                by_language[language].rows.append(row)
        except RowError as error:
            by_language[language].flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        if enough is not None and all(len(result.rows) >= enough for result in by_language.values()):
            break
    columns.check()
    by_language[languages[0]].notes.extend(_notes(files, source, tags, languages, columns))
    return by_language


def _tag(fields: Fields) -> str | None:
    """Return the row's language tag as written; None if it has none. Raises RowError if it is not text."""
    tag = value_of(fields, "language")
    if tag is not None and not isinstance(tag, str):
        raise RowError(f"language must be a code such as 'en', not {json_type(tag)}")
    return (tag or "").strip() or None


def _notes(
    files: Sequence[Path], source: Path, tags: Mapping[str, int], languages: Sequence[str], columns: Columns
) -> Iterator[str]:
    """Yield notes on how the rows were read."""
    yield from filter(None, map(format_note, files))
    used = {tag: count for tag, count in tags.items() if read_tag(tag) in languages}
    if note := tags_note(used):
        yield f"{source}: {note}"
    if others := Counter(tags) - Counter(used):
        listed = ", ".join(f"{tag[:20]!r}: {count}" for tag, count in others.most_common(10))
        yield f"{source}: left out rows in languages that the experiment does not name ({listed})"
    if note := columns.language_note(languages[0]):
        yield note


def _records(files: Sequence[Path]) -> Iterator[tuple[Path, Record]]:
    """Yield the records of all files. Ordinals continue from file to file."""
    row = 0
    for path in files:
        for record in records(path, row):
            row = record.row + 1
            yield path, record
