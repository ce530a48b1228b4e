"""JSON Lines, Parquet and CSV files -> records, and what is unusual about how a file is written."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.data.csv_files import csv_records, form_of
from detox_ray.data.rows import CSV, PARQUET, DataError, Flaw, Record, RowError, Share
from detox_ray.data.text_encoding import encoding_of


def parse(path: Path, share: Share, build: Callable[[Record], dict[str, Any] | None], first_row: int = 0) -> int:
    """Put what ``build`` makes of each record into ``share``: a row, a flaw (RowError), or nothing (None).

    Returns the number of records.
    """
    count = 0
    for record in records(path, first_row):
        count += 1
        try:
            row = build(record)
        except RowError as error:
            share.flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        else:
            if row is not None:
                share.rows.append(row)
    return count


def records(path: Path, first_row: int = 0) -> Iterator[Record]:
    """Yield the records of a JSON Lines, Parquet or CSV file, blank lines left out.

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
            reason = f"is damaged or no Parquet file: {str(error).splitlines()[0]}"
        elif isinstance(error, UnicodeDecodeError):
            reason = f"is damaged {error.encoding.upper()} text ({error.reason}): save it as UTF-8"
        else:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError([Flaw(str(path), reason)]) from None


def written_note(path: Path) -> str | None:
    """Return what is unusual about how a readable file is written (its encoding, its delimiter), None if nothing is."""
    if path.suffix in PARQUET:
        return None
    if path.suffix in CSV:
        said = form_of(path).note()
    else:
        encoding = encoding_of(path)
        said = None if encoding.startswith("utf-8") else f"read as {encoding.upper()}"
    return said and f"{path}: {said}"


def _json_records(path: Path, first_row: int) -> Iterator[Record]:
    row = first_row
    for number, line in enumerate(_json_lines(path), 1):
        content = line.strip()
        if content:
            yield Record(number, row, content)
            row += 1


def _json_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines as UTF-8.

    They end with "\\n" only: text may hold U+2028 and others that str.splitlines breaks at.
    """
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
    """Return the batch with dates that Python can hold: pandas writes nanoseconds."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        elif pa.types.is_duration(column.type) and column.type.unit == "ns":
            column = column.cast(pa.duration("us"), safe=False)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _class_names(schema: pa.Schema) -> Mapping[str, Sequence[str]]:
    """Return the names of the classes of each column that Hugging Face's datasets wrote as a ClassLabel.

    The file holds their numbers; which one is toxic, only the names say.
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: [str(each) for each in labels[name]["names"]] for name in labels if name in schema.names}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _named_class(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:  # as datasets writes that there is none
        return None
    return names[value] if 0 <= value < len(names) else value
