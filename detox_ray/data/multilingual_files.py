"""People's own data: one JSON Lines, Parquet or (but for prompts and texts) CSV file. toy17's world holds the same.

    prompts   text, language; optional index, annotations
    texts     text, language
    pairs     prompt, chosen, rejected; optional language (BiasDPO is published in this form)

`language` may be left out where only one is possible: the experiment's single one, or the one that the pairs are said
to be in. It is a language tag (`languages.read_tag`: "pt-BR" is pt, which a note says). Rows in other languages than
those asked for are left out, and a note counts them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detox_ray.config.languages import read_tag, tags_note
from detox_ray.data.record_files import records, written_note
from detox_ray.data.rows import (
    CSV,
    JSON_LINES,
    PARQUET,
    Columns,
    DataError,
    Flaw,
    Record,
    RowError,
    Share,
    index_of,
    json_of,
    kind,
    pair_of,
    row_id,
    text_of,
    texts_of,
    value_of,
)

Fields = dict[str, Any]


def read_prompts(path: Path, languages: Sequence[str], source: str) -> dict[str, Share]:
    """Language -> rows of PROMPTS."""

    def prompt(fields: Fields, language: str, row: int) -> Fields:
        return {
            "prompt_id": row_id(language, row),
            "text": text_of(fields, "text"),
            "source": source,
            "source_index": index_of(fields, "index") or str(row),
            "annotations": json_of(fields, "annotations"),
        }

    return by_language([path], languages, ("text",), prompt)


def read_texts(path: Path, languages: Sequence[str], source: str) -> dict[str, Share]:
    """Language -> rows of TEXTS."""

    def text(fields: Fields, language: str, row: int) -> Fields:
        return {"text_id": row_id(language, row), "text": text_of(fields, "text"), "source": source}

    return by_language([path], languages, ("text",), text)


def read_pairs(path: Path, language: str) -> Share:
    """Rows of PAIRS in ``language``."""
    names = ("prompt", "chosen", "rejected")

    def pair(fields: Fields, language: str, row: int) -> Fields:
        prompt, chosen, rejected = texts_of(fields, names)
        return pair_of(row_id(language, row), prompt, chosen, rejected, language)

    return by_language([path], [language], names, pair, JSON_LINES + PARQUET + CSV)[language]


def by_language(
    files: Sequence[Path],
    languages: Sequence[str],
    needed: Sequence[str],
    build: Callable[[Fields, str, int], Fields | None],
    formats: Sequence[str] = JSON_LINES + PARQUET,
    enough: int | None = None,
) -> dict[str, Share]:
    """Each row in the share of its language. A bad row whose language cannot be told is in the first one's.

    ``build`` makes a row of the table, or None of what is left out; it is given the row's ordinal over all files.
    Reading stops where every language has ``enough`` rows. Raises DataError where a file cannot be read, or a column is
    missing altogether.
    """
    for path in files:
        if path.exists() and path.suffix not in formats:
            known = "JSON Lines, Parquet or CSV" if ".csv" in formats else "JSON Lines or Parquet"
            raise DataError([Flaw(str(path), f"must be {known}, so end in {' '.join(formats)}")])
    source = files[0] if len(files) == 1 else files[0].parent
    tags: Counter[str] = Counter()
    shares = {language: Share([], [], [], tags) for language in languages}
    columns = Columns(source, (*needed, "language") if len(languages) > 1 else needed)
    for path, record in _records(files):
        language = languages[0]
        try:
            fields = record.fields()
            columns.saw(fields)
            tag = _tag(fields)
            if tag is not None:
                tags[tag] += 1
                named = read_tag(tag)
                if named not in shares:
                    continue
                language = named
            elif len(languages) > 1:
                raise RowError("has no field 'language'")
            row = build(fields, language, record.row)
            if row is not None:
                shares[language].rows.append(row)
        except RowError as error:
            shares[language].flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        if enough is not None and all(len(share.rows) >= enough for share in shares.values()):
            break
    columns.check()
    shares[languages[0]].notes.extend(_notes(files, source, tags, shares, columns))
    return shares


def _tag(fields: Fields) -> str | None:
    """Return the language that the row names, as written; None if it names none. Raises RowError."""
    tag = value_of(fields, "language")
    if tag is not None and not isinstance(tag, str):
        raise RowError(f"language must be a code such as 'en', not {kind(tag)}")
    return (tag or "").strip() or None


def _notes(
    files: Sequence[Path], source: Path, tags: Counter[str], shares: Mapping[str, Share], columns: Columns
) -> Iterator[str]:
    """Yield what is to be said of how the rows were read."""
    yield from filter(None, map(written_note, files))
    asked = {tag: count for tag, count in tags.items() if read_tag(tag) in shares}
    if said := tags_note(asked):
        yield f"{source}: {said}"
    if others := tags - Counter(asked):
        listed = ", ".join(f"{tag[:20]!r}: {count}" for tag, count in others.most_common(10))
        yield f"{source}: rows in languages that were not asked for left out ({listed})"
    if said := columns.without_language(next(iter(shares))):
        yield said


def _records(files: Sequence[Path]) -> Iterator[tuple[Path, Record]]:
    """The files' records, their ordinals going on from file to file."""
    row = 0
    for path in files:
        for record in records(path, row):
            row = record.row + 1
            yield path, record
