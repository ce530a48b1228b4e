"""People's own data: one JSON Lines or Parquet file. toy17's world holds the same files.

    prompts   text, language; optional index, annotations
    texts     text, language
    pairs     prompt, chosen, rejected; optional language

`language` may be left out where only one is possible: the experiment's single one, or the one that the pairs are said
to be in. Rows in other languages than those asked for are left out, and a note counts them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detox_ray.data.rows import (
    JSON_LINES,
    PARQUET,
    DataError,
    Flaw,
    RowError,
    Share,
    index_of,
    json_of,
    kind,
    pair_of,
    records,
    row_id,
    text_of,
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

    return by_language(path, languages, ("text",), prompt)


def read_texts(path: Path, languages: Sequence[str], source: str) -> dict[str, Share]:
    """Language -> rows of TEXTS."""

    def text(fields: Fields, language: str, row: int) -> Fields:
        return {"text_id": row_id(language, row), "text": text_of(fields, "text"), "source": source}

    return by_language(path, languages, ("text",), text)


def read_pairs(path: Path, language: str) -> Share:
    """Rows of PAIRS in ``language``."""
    names = ("prompt", "chosen", "rejected")

    def pair(fields: Fields, language: str, row: int) -> Fields:
        prompt, chosen, rejected = (text_of(fields, name) for name in names)
        return pair_of(row_id(language, row), prompt, chosen, rejected, language)

    return by_language(path, [language], names, pair)[language]


def by_language(
    path: Path,
    languages: Sequence[str],
    needed: Sequence[str],
    build: Callable[[Fields, str, int], Fields],
    formats: Sequence[str] = JSON_LINES + PARQUET,
) -> dict[str, Share]:
    """Each row in the share of its language. A bad row whose language cannot be told is in the first one's.

    Raises DataError where the file cannot be read, or a column is missing altogether.
    """
    if path.exists() and path.suffix not in formats:
        known = "JSON Lines, Parquet or CSV" if ".csv" in formats else "JSON Lines or Parquet"
        raise DataError([Flaw(str(path), f"must be {known}, so end in {' '.join(formats)}")])
    shares = {language: Share([], [], []) for language in languages}
    columns = (*needed, "language") if len(languages) > 1 else tuple(needed)
    parsed = 0
    seen: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for record in records(path):
        language = languages[0]
        try:
            fields = record.fields()
            parsed += 1
            seen.update(column for column in columns if column in fields)
            named = fields.get("language")
            if isinstance(named, str) and named not in shares:
                others[named] += 1
                continue
            if isinstance(named, str):
                language = named
            elif named is not None:
                raise RowError(f"language must be a code such as 'en', not {kind(named)}")
            elif len(languages) > 1:
                raise RowError("has no field 'language'")
            shares[language].rows.append(build(fields, language, record.row))
        except RowError as error:
            shares[language].flaws.append(Flaw(f"{path}:{record.line}", str(error)))
    absent = [column for column in columns if parsed and not seen[column]]
    if absent:
        raise DataError(
            [Flaw(str(path), f"no row has a {column!r}; every row needs {', '.join(columns)}") for column in absent]
        )
    if others:
        listed = ", ".join(f"{code[:20]!r}: {count}" for code, count in others.most_common(10))
        shares[languages[0]].notes.append(f"{path}: rows in languages that were not asked for left out ({listed})")
    return shares
