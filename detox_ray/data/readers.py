"""Read the source that a config names into tables of good rows, or raise an error that lists all flaws.

A row is bad if it is not JSON or not UTF-8, or if a field is missing, empty or of another type. `data.on_error` decides
whether bad rows stop the run, with file, line and reason, or are skipped and listed. Limits count good rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from detox_ray.config import CorpusConfig, OpeningsConfig, PairsConfig, PromptsConfig, TextsConfig, ValidityConfig
from detox_ray.config.data import RowKind, SourceConfig, sources_of
from detox_ray.data.rows import DataError, Flaw, LanguageRows, Rows
from detox_ray.data.source import Source, open_source
from detox_ray.storage.folder import KEY_LENGTH, canonical_json
from detox_ray.storage.tables import CORPUS, LABELLED, ORIGINALS, PAIRS, PROMPTS, TEXTS, TRAIN
from detox_ray.storage.units import Table

OnError = Literal["stop", "skip"]
KEY_ROWS = 4096  # rows of a piece of `source_key`

_TABLES: Mapping[RowKind, Table] = {
    "prompts": PROMPTS,
    "openings": PROMPTS,
    "pairs": PAIRS,
    "corpus": CORPUS,
    "originals": ORIGINALS,
    "texts": TEXTS,
    "labelled": LABELLED,
}


def read_prompts(
    config: PromptsConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Read the prompts of each language, in the source's order.

    Args:
        config: The source, and how much of it to use.
        languages: Codes of the languages.
        on_error: Whether a bad row is an error ("stop"), or is left out and listed ("skip").
        world: Folder of the built-in world toy17; only for that source.

    Raises:
        DataError: Files are missing, rows are bad, or languages have no prompts. It lists all of them.
    """
    source = open_source(config, world)
    return _in_every_language(source.prompts(languages), config, source, on_error)


def read_openings(
    config: OpeningsConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Read harmless text to continue in each language, as `read_prompts`."""
    source = open_source(config, world)
    return _in_every_language(source.openings(languages), config, source, on_error)


def read_texts(
    config: TextsConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Read the held-out texts of each language, as `read_prompts`."""
    source = open_source(config, world)
    return _in_every_language(source.texts(languages), config, source, on_error)


def read_pairs(config: PairsConfig, on_error: OnError, world: Path | None = None) -> Rows:
    """Read the pairs in the config's language, in the source's order. Raises DataError as `read_prompts`."""
    source = open_source(config, world)
    part = source.pairs(config.language)
    if not part.rows and not part.flaws:
        reason = f"has no pairs in language {config.language}{part.other_languages([config.language])}"
        part.flaws.append(Flaw(str(source.path), reason))
    return _in_one_language(replace(part, rows=part.rows[: config.limit]), config, on_error)


def read_corpus(config: CorpusConfig, on_error: OnError, world: Path | None = None) -> Rows:
    """Read the training texts, followed by the validation texts. Raises DataError as `read_prompts`."""
    source = open_source(config, world)
    return _training_texts(source.corpus(config.language, config.limit), config, source, on_error)


def read_originals(config: CorpusConfig, on_error: OnError, world: Path | None = None) -> Rows:
    """Read the originals that the texts of `read_corpus` were rewritten from, in the same order."""
    source = open_source(config, world)
    return _training_texts(source.originals(config.language, config.limit), config, source, on_error)


def _training_texts(part: LanguageRows, config: CorpusConfig, source: Source, on_error: OnError) -> Rows:
    if not any(row["split"] == TRAIN for row in part.rows):
        part = replace(part, rows=[])
    if not part.rows and not part.flaws:
        reason = f"has no training text in language {config.language}{part.other_languages([config.language])}"
        part.flaws.append(Flaw(str(source.path), reason))
    return _in_one_language(part, config, on_error)


def read_labelled(
    config: ValidityConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Read the labelled texts of each language, in the source's order.

    A language without labelled text has an empty table and a note, because scorers then have no evidence there. Raises
    DataError as `read_prompts`, except that missing languages are an error only if no language has any text.
    """
    source = open_source(config, world)
    by_language = source.labelled(languages, config.toxic_from)
    flaws = [flaw for part in by_language.values() for flaw in part.flaws]
    if not any(part.rows for part in by_language.values()):
        others = next(iter(by_language.values())).other_languages(languages)
        raise DataError(flaws or [Flaw(str(source.path), f"has no labelled text in {' '.join(languages)}{others}")])
    if flaws and on_error == "stop":
        raise DataError(flaws)
    for language, part in by_language.items():
        if not part.rows:
            part.notes.append(f"{source.path}: no labelled text in {language}")
    return {language: _good_rows(part, config, config.per_language) for language, part in by_language.items()}


def reference(config: ValidityConfig) -> str:
    """Return who judged the labelled text, as a report names it: "human: rtp-lx", "truth: toy17", "human: mine.csv"."""
    judge: str = sources_of("labelled")[config.source].judge(config.path)
    return judge


def published_rows(config: SourceConfig, language: str) -> int | None:
    """Return how many rows the published source has, in this language if it has several; None if unknown."""
    published: int | Mapping[str, int] | None = sources_of(config.kind)[config.source].published_rows
    return published.get(language) if isinstance(published, Mapping) else published


def source_key(table: pa.Table) -> str:
    """Return the key of a table's content, which does not depend on how the rows are chunked or sliced.

    It is ``key_of(columns=[names], rows=[[values], ...])``, computed in pieces that need little memory.
    """
    digest = hashlib.sha256(canonical_json({"columns": table.schema.names, "rows": []}).encode()[:-2])
    separator = b""
    for batch in table.to_batches(max_chunksize=KEY_ROWS):
        rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        if rows:
            digest.update(separator + canonical_json(rows)[1:-1].encode())
            separator = b", "
    digest.update(b"]}")
    return digest.hexdigest()[:KEY_LENGTH]


def _in_one_language(part: LanguageRows, config: SourceConfig, on_error: OnError) -> Rows:
    if part.flaws and (on_error == "stop" or not part.rows):
        raise DataError(part.flaws)
    return _good_rows(part, config)


def _in_every_language(
    by_language: Mapping[str, LanguageRows],
    config: PromptsConfig | OpeningsConfig | TextsConfig,
    source: Source,
    on_error: OnError,
) -> dict[str, Rows]:
    missing = _missing_languages(by_language, config.kind, source)
    if missing or (on_error == "stop" and any(part.flaws for part in by_language.values())):
        # With "skip", list bad rows only of languages that have no good row: they explain why.
        reasons = [flaw for part in by_language.values() if on_error == "stop" or not part.rows for flaw in part.flaws]
        raise DataError(missing + reasons)
    return {language: _good_rows(part, config, config.per_language) for language, part in by_language.items()}


def _missing_languages(by_language: Mapping[str, LanguageRows], kind: RowKind, source: Source) -> list[Flaw]:
    """Return a flaw that names the languages without a usable row. Those with bad rows have a flaw of their own."""
    by_reason: dict[str, list[str]] = {}
    for language, part in by_language.items():
        if not part.rows:
            by_reason.setdefault(part.other_languages([language]), []).append(language)
    flaws = []
    for others, languages in by_reason.items():
        noun = "language" if len(languages) == 1 else "languages"
        reason = f"holds no usable {kind} in {noun} {', '.join(languages)}{others}"
        flaws.append(Flaw(str(source.path), f"{reason}: add some, or ask for other `languages`"))
    return flaws


def _good_rows(part: LanguageRows, config: SourceConfig, limit: int | None = None) -> Rows:
    table = pa.Table.from_pylist(part.rows[:limit], schema=_TABLES[config.kind].columns)
    absent = [column.name for column in table.schema if not column.nullable and table[column.name].null_count]
    assert not absent, f"source {config.source} gives {config.kind} without {', '.join(absent)}"
    return Rows(table, [str(flaw) for flaw in part.flaws], part.notes)
