"""Read JSON Lines, Parquet and CSV files into records, and note an unusual encoding or delimiter."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.data.csv_files import csv_records, form_of
from detox_ray.data.fields import RowError
from detox_ray.data.rows import CSV, PARQUET, DataError, Flaw, LanguageRows, Record
from detox_ray.data.text_encoding import encoding_of


def parse(path: Path, into: LanguageRows, build: Callable[[Record], dict[str, Any] | None], first_row: int = 0) -> int:
    """Build a row from each record of a file, and return the number of records.

    Args:
        path: The file.
        into: Receives the rows, and a flaw for each bad record.
        build: Makes a row from a record. Returns None to leave a record out; raises RowError for a bad one.
        first_row: Ordinal of the file's first record in its source.
    """
    count = 0
    for record in records(path, first_row):
        count += 1
        try:
            row = build(record)
        except RowError as error:
            into.flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        else:
            if row is not None:
                into.rows.append(row)
    return count


def records(path: Path, first_row: int = 0) -> Iterator[Record]:
    """Yield the records of a JSON Lines, Parquet or CSV file. Blank lines are skipped.

    Raises DataError if the file cannot be read.
    """
    if path.suffix in PARQUET:
        read: Callable[[Path, int], Iterator[Record]] = _parquet_records
    elif path.suffix in CSV:
        read = csv_records
    else:
        read = _json_records
    try:
        yield from read(path, first_row)
    except DataError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        if not path.exists():
            reason = "cannot be read: no such file"
        elif path.suffix in PARQUET and not isinstance(error, IsADirectoryError):
            reason = f"is damaged or not a Parquet file: {str(error).splitlines()[0]}"
        elif isinstance(error, UnicodeDecodeError):
            reason = f"is damaged {error.encoding.upper()} text ({error.reason}): save it as UTF-8"
        else:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError([Flaw(str(path), reason)]) from None


def format_note(path: Path) -> str | None:
    """Return a note if a file has an unusual encoding or delimiter, else None. The file must be readable."""
    if path.suffix in PARQUET:
        return None
    if path.suffix in CSV:
        note = form_of(path).note()
    else:
        encoding = encoding_of(path)
        note = None if encoding.startswith("utf-8") else f"read as {encoding.upper()}"
    return note and f"{path}: {note}"


def _json_records(path: Path, first_row: int) -> Iterator[Record]:
    row = first_row
    for number, line in enumerate(_json_lines(path), 1):
        content = line.strip()
        if content:
            if row == first_row and content.startswith(b"["):
                reason = f"is one JSON array: write one object per line, as `jq -c '.[]' {path.name}` does"
                raise DataError([Flaw(str(path), reason)])
            yield Record(number, row, content)
            row += 1


def _json_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines as UTF-8. Only "\\n" ends one: text may hold U+2028, at which str.splitlines breaks."""
    encoding = encoding_of(path)
    if encoding.startswith("utf-8"):
        with path.open("rb") as stream:
            mark = len("\ufeff".encode()) if encoding == "utf-8-sig" else 0
            stream.seek(mark)
            yield from stream
    else:
        with path.open(encoding=encoding, newline="\n") as text:
            for line in text:
                yield line.encode()


def _parquet_records(path: Path, first_row: int) -> Iterator[Record]:
    row = 0
    with pq.ParquetFile(path) as file:
        classes = _class_names(file.schema_arrow)
        for batch in file.iter_batches():
            for fields in _in_microseconds(batch).to_pylist():
                for name, names in classes.items():
                    fields[name] = _named_class(fields[name], names)
                yield Record(row + 1, first_row + row, fields)
                row += 1


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with times in microseconds, which Python can represent. pandas writes nanoseconds."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        elif pa.types.is_duration(column.type) and column.type.unit == "ns":
            column = column.cast(pa.duration("us"), safe=False)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _class_names(schema: pa.Schema) -> Mapping[str, Sequence[str]]:
    """Return the class names of each column that Hugging Face's datasets wrote as a ClassLabel.

    The column itself holds numbers; only the names say which number means toxic.
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: list(map(str, labels[name]["names"])) for name in labels if name in schema.names}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _named_class(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:  # the number by which datasets means "no class"
        return None
    return names[value] if 0 <= value < len(names) else value
