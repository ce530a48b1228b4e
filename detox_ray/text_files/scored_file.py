"""A file of scores, as `detox-ray score-file` writes it: a row for each row of the input, in its order.

    row, text, language    language_identified says whether the language is an identifier's guess
    columns that --keep names, as text
    SCORER.ATTRIBUTE       in [0, 1]; null unless the status is "ok"
    SCORER.status          ok, empty, unsupported_language, failed
    reason                 why a row could not be read (its status is "failed" then)

A Parquet file also holds each scorer's name, identity, revision, attributes and languages, in its schema's metadata.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.config import InputError
from detox_ray.data.rows import CSV, JSON_LINES, PARQUET
from detox_ray.text_files.score_tables import Block

OutputFormat = Literal["parquet", "jsonl", "csv"]
METADATA = b"detox_ray"


class ScorerFacts(NamedTuple):
    """The facts about a scorer in the metadata of a scored file."""

    name: str
    identity: str  # changes with whatever changes a value
    revision: str
    attributes: list[str]
    languages: list[str] | None  # in which it has evidence; None: all


def format_of(path: Path) -> OutputFormat | None:
    """Return the format that a file's ending stands for; None if it stands for none."""
    formats: dict[OutputFormat, Sequence[str]] = {"parquet": PARQUET, "jsonl": JSON_LINES, "csv": CSV}
    return next((name for name, endings in formats.items() if path.suffix in endings), None)


def scorers_of(path: Path) -> list[ScorerFacts]:
    """Return the scorers of a Parquet file of scores. Raises InputError for any other file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        return [ScorerFacts(**facts) for facts in json.loads(metadata[METADATA])["scorers"]]
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        rule = "must be a Parquet file that `detox-ray score-file` wrote"
        raise InputError(f"{path}: {rule}") from None


def schema_of(kept: Sequence[str], scorers: Sequence[ScorerFacts]) -> pa.Schema:
    """Return the columns of a file of scores."""
    fields = [
        ("row", pa.int64()),
        *((name, pa.string()) for name in kept),
        ("text", pa.string()),
        ("language", pa.string()),
        ("language_identified", pa.bool_()),
    ]
    for scorer in scorers:
        fields += [(f"{scorer.name}.{name}", pa.float64()) for name in scorer.attributes]
        fields.append((f"{scorer.name}.status", pa.string()))
    facts = json.dumps({"scorers": [scorer._asdict() for scorer in scorers]}, ensure_ascii=False)
    return pa.schema([*fields, ("reason", pa.string())], metadata={METADATA: facts.encode()})


def table_of(block: Block, schema: pa.Schema, kept: Sequence[str]) -> pa.Table:
    """Return the rows of a block."""
    columns: dict[str, Any] = {
        name: [row[name] for row in block.rows] for name in ("row", "text", "language", "reason")
    }
    columns["language_identified"] = [row["identified"] for row in block.rows]
    of_rows = [json.loads(row["kept"]) for row in block.rows] if kept else []
    columns |= {name: [row.get(name) for row in of_rows] for name in kept}
    columns |= {column.name: pa.array(column.values, pa.float64(), from_pandas=True) for column in block.columns}
    columns |= {f"{scorer}.status": statuses for scorer, statuses in block.statuses.items()}
    return pa.table([pa.array(columns[name], schema.field(name).type) for name in schema.names], schema=schema)


class Writer(Protocol):
    """Takes the tables of a file, one after another."""

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


@contextmanager
def output(path: Path | None, format: OutputFormat, schema: pa.Schema) -> Iterator[Writer]:
    """Open the output for the duration of the block. A file appears whole at its end, or not at all.

    Args:
        path: The file; None: standard output.
        format: How rows are written.
        schema: The columns.
    """
    if path is None:
        writer = _writer(sys.stdout.buffer, format, schema)
        yield writer
        writer.close()
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            writer = _writer(stream, format, schema)
            yield writer
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _writer(stream: IO[bytes], format: OutputFormat, schema: pa.Schema) -> Writer:
    if format == "parquet":
        return _ParquetWriter(stream, schema)
    return _JsonLinesWriter(stream) if format == "jsonl" else _CsvWriter(stream, schema)


class _ParquetWriter:
    def __init__(self, stream: IO[bytes], schema: pa.Schema):
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _JsonLinesWriter:
    def __init__(self, stream: IO[bytes]):
        self._stream = stream

    def write(self, table: pa.Table) -> None:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in table.to_pylist())
        self._stream.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        self._stream.flush()


class _CsvWriter:
    def __init__(self, stream: IO[bytes], schema: pa.Schema):
        self._stream = stream
        self._write_rows([schema.names])

    def write(self, table: pa.Table) -> None:
        columns = [table[name].to_pylist() for name in table.column_names]
        self._write_rows(list(zip(*columns, strict=True)))

    def _write_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._stream.write(text.getvalue().encode())

    def close(self) -> None:
        self._stream.flush()
