"""Readers: sources of prompts, pairs, text to train on, held-out and labelled text -> tables (storage/tables.py).

A bad row (not JSON, not UTF-8, a field that is missing, of another type or empty) ends the run with its file, line and
reason, or is skipped and listed, as `data.on_error` says. Limits count good rows. A row's id comes from its place in
the source, so it stays the same whatever is skipped or limited.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from detox_ray.config import (
    TOY17,
    CorpusConfig,
    DataConfig,
    PairsConfig,
    Problem,
    PromptsConfig,
    TextsConfig,
    ValidityConfig,
)
from detox_ray.data import biasdpo, corpus, labelled, own_file, rtp_lx, toxicity_pairwise
from detox_ray.data.rows import SHOWN_FLAWS, DataError, Flaw, Rows, Share
from detox_ray.storage import key_of
from detox_ray.storage.tables import CORPUS, LABELLED, PAIRS, PROMPTS, TEXTS, TRAIN

__all__ = [
    "DataError",
    "Rows",
    "check",
    "read_corpus",
    "read_labelled",
    "read_pairs",
    "read_prompts",
    "read_texts",
    "reference",
    "source_key",
]

reference = labelled.reference

OnError = Literal["stop", "skip"]


def read_prompts(
    config: PromptsConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Language -> rows of PROMPTS, in the source's order. ``world`` is toy17's folder.

    Raises DataError with all that is wrong: missing files, bad rows (on_error "stop"), languages without a prompt.
    """
    path = _path(config.source, config.path, world, "prompts.jsonl")
    if config.source == "rtp-lx":
        shares = _rtp_lx_prompts(path, languages)
    else:
        shares = own_file.read_prompts(path, languages, config.source)
    return _by_language(shares, PROMPTS.columns, config.per_language, on_error, path, "prompts")


def read_texts(
    config: TextsConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Language -> rows of TEXTS, as `read_prompts`."""
    path = _path(config.source, config.path, world, "texts.jsonl")
    shares = own_file.read_texts(path, languages, config.source)
    return _by_language(shares, TEXTS.columns, config.per_language, on_error, path, "texts")


def read_pairs(config: PairsConfig, on_error: OnError, world: Path | None = None) -> Rows:
    """Rows of PAIRS, in the source's order. Raises DataError as `read_prompts`."""
    path = _path(config.source, config.path, world, "pairs.jsonl")
    _english_in_toy17("pairs", config.source, config.language)
    read = {
        "rtp-lx": rtp_lx.read_pairs,
        "toxicity-pairwise": toxicity_pairwise.read_pairs,
        "biasdpo": biasdpo.read_pairs,
    }
    share = read.get(config.source, own_file.read_pairs)(path, config.language)
    if not share.rows and not share.flaws:
        share.flaws.append(
            Flaw(str(path), f"holds no pairs in language {config.language}{share.instead_of([config.language])}")
        )
    return _rows(share._replace(rows=share.rows[: config.limit]), PAIRS.columns, on_error)


def read_corpus(config: CorpusConfig, on_error: OnError, world: Path | None = None) -> Rows:
    """Rows of CORPUS, in the source's order, those to validate with last. Raises DataError as `read_prompts`."""
    path = _path(config.source, config.path, world, "pairs.jsonl")
    _english_in_toy17("corpus", config.source, config.language)
    share = corpus.read(path, config.source, config.language, config.limit)
    if not any(row["split"] == TRAIN for row in share.rows):
        share = share._replace(rows=[])
    if not share.rows and not share.flaws:
        reason = f"holds no text to train on in language {config.language}{share.instead_of([config.language])}"
        share.flaws.append(Flaw(str(path), reason))
    return _rows(share, CORPUS.columns, on_error)


def _rows(share: Share, schema: pa.Schema, on_error: OnError) -> Rows:
    if share.flaws and (on_error == "stop" or not share.rows):
        raise DataError(share.flaws)
    return Rows(_table(share.rows, schema), [str(flaw) for flaw in share.flaws], share.notes)


def _english_in_toy17(what: str, source: str, language: str) -> None:
    if source == TOY17 and language != "en":
        raise DataError([Flaw(f"data.{what}.language", f"toy17's pairs are in English (en), not {language}")])


def read_labelled(
    config: ValidityConfig, languages: Sequence[str], on_error: OnError, world: Path | None = None
) -> dict[str, Rows]:
    """Language -> rows of LABELLED, in the source's order; a language without any has none, and a note.

    Raises DataError as `read_prompts`, but for languages without rows only where none has any.
    """
    path = _path(config.source, config.path, world, "labelled.jsonl")
    if config.source == "rtp-lx":
        shares = labelled.rtp_lx_shares(path, languages, config.toxic_from)
    else:
        shares = labelled.file_shares(path, languages, config.source, config.toxic_from)
    flaws = [flaw for share in shares.values() for flaw in share.flaws]
    if not any(share.rows for share in shares.values()):
        there = next(iter(shares.values())).instead_of(languages)
        raise DataError(flaws or [Flaw(str(path), f"holds no labelled text in {' '.join(languages)}{there}")])
    if flaws and on_error == "stop":
        raise DataError(flaws)
    none = {
        language: [f"{path}: no labelled text in {language}"] for language, share in shares.items() if not share.rows
    }
    return {
        language: Rows(
            _table(rows[: config.per_language], LABELLED.columns),
            [str(flaw) for flaw in flaws],
            notes + none.get(language, []),
        )
        for language, (rows, flaws, notes, _) in shares.items()
    }


def check(
    data: DataConfig,
    languages: Sequence[str],
    validity: ValidityConfig | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[Problem]:
    """Everything wrong with the experiment's data, found by reading it once; toy17 needs no check.

    The readers are the only judges of their sources, so what passes here does not fail later. ``say`` gets their notes.
    """
    problems: list[Problem] = []

    def attempt(field: str, read: Callable[[], Rows | dict[str, Rows]]) -> None:
        try:
            found = read()
            for rows in found.values() if isinstance(found, dict) else (found,):
                for note in rows.notes:
                    say(note)
                if rows.skipped:
                    say(f"{field}: bad rows left out: {len(rows.skipped)}; the first: {rows.skipped[0]}")
        except DataError as error:
            problems.extend(Problem(field, flaw.where, flaw.reason) for flaw in error.flaws[:SHOWN_FLAWS])
            if len(error.flaws) > SHOWN_FLAWS:
                more = len(error.flaws) - SHOWN_FLAWS
                problems.append(Problem(field, f"{more} more", "and so on; data.on_error=skip leaves bad rows out"))

    prompts, pairs, corpus_, texts = data.prompts, data.pairs, data.corpus, data.texts
    if prompts.source != TOY17:
        attempt("data.prompts.path", lambda: read_prompts(prompts, languages, data.on_error))
    if pairs is not None and pairs.source != TOY17:
        attempt("data.pairs.path", lambda: read_pairs(pairs, data.on_error))
    if corpus_ is not None and corpus_.source != TOY17:
        attempt("data.corpus.path", lambda: read_corpus(corpus_, data.on_error))
    if texts is not None and texts.source != TOY17:
        attempt("data.texts.path", lambda: read_texts(texts, languages, data.on_error))
    if validity is not None and validity.source != TOY17:
        attempt("validity.path", lambda: read_labelled(validity, languages, data.on_error))
    return problems


def source_key(table: pa.Table) -> str:
    """Key of a table's content: the same for the same rows, however they are chunked or sliced."""
    return key_of(columns=table.schema.names, rows=[list(row.values()) for row in table.to_pylist()])


def _path(source: str, path: str | None, world: Path | None, name: str) -> Path:
    if source == TOY17:
        assert world is not None, "source toy17 needs the world's folder"
        return world / name
    assert path is not None  # config.Source requires it
    return Path(path).expanduser()


def _rtp_lx_prompts(folder: Path, languages: Sequence[str]) -> dict[str, Share]:
    if not folder.is_dir():
        raise DataError([Flaw(str(folder), "must be a folder of RTP_LX_*.json")])
    shares = {}
    unreadable: list[Flaw] = []
    for language in languages:
        try:
            shares[language] = rtp_lx.read_prompts(folder, language)
        except DataError as error:
            unreadable.extend(error.flaws)
    if unreadable:
        raise DataError(unreadable)
    return shares


def _by_language(
    shares: dict[str, Share], schema: pa.Schema, limit: int | None, on_error: OnError, path: Path, what: str
) -> dict[str, Rows]:
    missing = [
        Flaw(str(path), f"holds no usable {what} in language {language}{share.instead_of([language])}")
        for language, share in shares.items()
        if not share.rows
    ]
    if missing or (on_error == "stop" and any(share.flaws for share in shares.values())):
        # Where a language has no good row, its bad ones say why.
        why = [flaw for share in shares.values() if on_error == "stop" or not share.rows for flaw in share.flaws]
        raise DataError(missing + why)
    return {
        language: Rows(_table(rows[:limit], schema), [str(flaw) for flaw in flaws], notes)
        for language, (rows, flaws, notes, _) in shares.items()
    }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)
