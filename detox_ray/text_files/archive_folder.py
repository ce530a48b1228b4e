"""An archive on disk: each distinct text once, with the service's whole answer.

    archive.json                 the server, the attributes, and whether sentences have scores of their own
    answers/00000.parquet        the rows, one part after another
    journal.jsonl                rows that are in no part yet, and requests that are on their way

A row is durable as soon as it is in the journal (written and synced), and no request is forgotten after that. A part is
written whole before the journal is emptied, so a row may stand in both for a moment; it counts once. A text whose
failure is asked again stands in a newer part; the older part is then written again without it.

A request is noted in the journal before it is sent, so that whoever opens the archive after a kill knows which texts
will be asked for twice. The notes survive the process; a power cut may take those after the last row.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.config import ConfigError, InputError, Problem
from detox_ray.score.score_cache import text_hash
from detox_ray.score.stored_scores import ARCHIVE, ARCHIVE_ANSWERS
from detox_ray.storage import Store
from detox_ray.storage.tables import FAILED

VERSION = 1
JOURNAL = "journal.jsonl"
ROWS_PER_PART = 5_000
SENT, GIVEN_UP = "sent", "given_up"  # notes in the journal, with a text's id


class Row(NamedTuple):
    """The columns of the archive for one text."""

    text: str
    language: str | None  # as asked for; None: the service detected it
    status: str
    reason: str | None  # why there are no values
    values: dict[str, float]  # attribute -> score; empty unless the status is "ok"
    detected: list[str]  # languages that the service names
    asked_at: str  # ISO 8601
    request: dict[str, Any] | None  # without the text; None if nothing was sent
    response: dict[str, Any] | None  # the whole answer, or Google's error object


def text_id(text: str, language: str | None) -> bytes:
    """Return what identifies a text in a language."""
    return text_hash(f"{language or ''}\n{text}")


class ArchiveFolder:
    """An archive that is open for writing, by the one process that holds its lock.

    It writes in a thread of its own, because Ctrl-C interrupts the main thread anywhere, and half a step would lose or
    double rows.
    """

    def __init__(self, store: Store, settings: dict[str, Any]):
        """Open or begin an archive.

        Args:
            store: The folder, on this machine.
            settings: What all its answers have in common.

        Raises:
            InputError: If the folder is of another archive, or holds something else.
        """
        self._store, self._settings = store, settings
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self.counts: Counter[str] = Counter()  # status -> texts
        self._attributes: list[str] = settings["attributes"]
        self._schema = schema_of(self._attributes)
        self._part_of: dict[bytes, str] = {}  # failed text -> its part
        self._known: set[bytes] = set()
        self._journal_rows: dict[bytes, Row] = {}
        self._on_their_way: set[bytes] = set()  # texts that were sent, and have no row yet
        self._fd = -1
        self._parts = [path for path in store.files(ARCHIVE_ANSWERS) if path.endswith(".parquet")]
        self._check()
        self._read_parts()
        self._read_journal()
        self.interrupted = frozenset(self._on_their_way)  # of processes that were killed
        self._fd = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._write_part()

    @property
    def _journal(self) -> Path:
        return Path(self._store.path(JOURNAL))

    def _check(self) -> None:
        settings = {"version": VERSION, **self._settings}
        if not self._store.exists(ARCHIVE):
            if self._parts:
                raise InputError(f"{self._store.uri} has answers but no {ARCHIVE}: choose another folder")
            self._store.write_json(ARCHIVE, settings)
            return
        kept = self._store.read_json(ARCHIVE)
        if kept != settings:
            rule = "the archive in --out was begun with {}: give the same, or another --out"
            raise ConfigError(
                [
                    Problem(name, value, rule.format(repr(kept.get(name))))
                    for name, value in settings.items()
                    if kept.get(name) != value
                ]
            )

    def status(self, key: bytes) -> str | None:
        """Return "failed" or another word if the text is known; None if it is not."""
        if key in self._journal_rows:
            return self._journal_rows[key].status
        if key in self._part_of:
            return FAILED
        return "known" if key in self._known else None

    def note_sent(self, key: bytes) -> None:
        """Note that a text is about to be sent."""
        self._writer.submit(self._note_sent, key).result()

    def note_given_up(self, key: bytes) -> None:
        """Note that a text got no answer, however often it was sent."""
        self._writer.submit(self._note_given_up, key).result()

    def add(self, row: Row) -> None:
        """Keep a row. It is durable when this returns; a row that is kept already is not kept twice."""
        self._writer.submit(self._add, row).result()

    def close(self) -> None:
        """Leave nothing in the journal but notes of what a killed process had sent and this one did not ask for."""
        self._writer.submit(self._close).result()
        self._writer.shutdown()

    def _add(self, row: Row) -> None:
        key = text_id(row.text, row.language)
        line = json.dumps(row._asdict(), ensure_ascii=True, separators=(",", ":")) + "\n"
        self._append(line.encode())
        os.fsync(self._fd)
        self._store_row(key, row)
        if len(self._journal_rows) >= ROWS_PER_PART:
            self._write_part()

    def _note_sent(self, key: bytes) -> None:
        if key not in self._on_their_way:
            self._on_their_way.add(key)
            self._append(_note(SENT, key))

    def _note_given_up(self, key: bytes) -> None:
        self._on_their_way.discard(key)
        self._append(_note(GIVEN_UP, key))

    def _append(self, lines: bytes) -> None:
        """Write whole lines to the journal, or none: a full disk takes a part of one, which would spoil the next."""
        end = os.fstat(self._fd).st_size
        try:
            while lines:
                lines = lines[os.write(self._fd, lines) :]
        except OSError:
            os.ftruncate(self._fd, end)
            raise

    def _store_row(self, key: bytes, row: Row) -> None:
        self._on_their_way.discard(key)
        before = self.status(key)
        if before == FAILED:
            self.counts[FAILED] -= 1
        if before is None or before == FAILED:
            self.counts[row.status] += 1
            self._journal_rows[key] = row

    def _write_part(self) -> None:
        """Turn the journal's rows into a Parquet part, and empty it but for what is on its way."""
        rows = self._journal_rows
        if rows:
            number = int(Path(self._parts[-1]).stem) + 1 if self._parts else 0
            part = f"{ARCHIVE_ANSWERS}/{number:05d}.parquet"
            self._write(part, [self._columns_of(row) for row in rows.values()])
            self._parts.append(part)
            self._drop({key: self._part_of[key] for key in rows if key in self._part_of})
            for key, row in rows.items():
                self._remember(key, row.status, part)
            self._journal_rows = {}
        os.ftruncate(self._fd, 0)
        self._append(b"".join(_note(SENT, key) for key in sorted(self._on_their_way)))

    def _close(self) -> None:
        self._write_part()
        os.close(self._fd)
        if not self._on_their_way:
            self._journal.unlink(missing_ok=True)

    def _write(self, part: str, rows: Sequence[dict[str, Any]]) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=self._schema), sink, compression="zstd")
        self._store.write_bytes(part, sink.getvalue().to_pybytes())

    def _columns_of(self, row: Row) -> dict[str, Any]:
        return {
            "text": row.text,
            "language": row.language,
            "status": row.status,
            **{name: row.values.get(name) for name in self._attributes},
            "reason": row.reason,
            "detected_languages": row.detected,
            "asked_at": datetime.fromisoformat(row.asked_at),
            "request": None if row.request is None else json.dumps(row.request, ensure_ascii=False),
            "response": None if row.response is None else json.dumps(row.response, ensure_ascii=False),
        }

    def _read_parts(self) -> None:
        replaced: dict[bytes, str] = {}
        for part in self._parts:
            for key, status in self._keys(part):
                if key in self._part_of:  # a crash came before the older part was written again
                    replaced[key] = self._part_of.pop(key)
                    self.counts[FAILED] -= 1
                self.counts[status] += 1
                self._remember(key, status, part)
        self._drop(replaced)

    def _keys(self, part: str) -> Iterator[tuple[bytes, str]]:
        file = pq.ParquetFile(self._store.path(part))
        for batch in file.iter_batches(columns=["text", "language", "status"]):
            for text, language, status in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield text_id(text, language), status

    def _remember(self, key: bytes, status: str, part: str) -> None:
        self._known.add(key)
        self._part_of.pop(key, None)
        if status == FAILED:
            self._part_of[key] = part

    def _drop(self, part_of: dict[bytes, str]) -> None:
        """Write parts again without the rows that a newer part replaces."""
        for part in sorted(set(part_of.values())):
            keys = {key for key, own in part_of.items() if own == part}
            rows = pq.ParquetFile(self._store.path(part)).read().to_pylist()
            self._write(part, [row for row in rows if text_id(row["text"], row["language"]) not in keys])

    def _read_journal(self) -> None:
        """Take up what a killed process left. A last line that is not whole was never counted."""
        if not self._journal.exists():
            return
        for line in self._journal.read_bytes().split(b"\n")[:-1]:
            try:
                content = json.loads(line)
                if SENT in content:
                    self._on_their_way.add(bytes.fromhex(content[SENT]))
                elif GIVEN_UP in content:
                    self._on_their_way.discard(bytes.fromhex(content[GIVEN_UP]))
                else:
                    row = Row(**content)
                    self._store_row(text_id(row.text, row.language), row)
            except (ValueError, TypeError):
                continue


def _note(kind: str, key: bytes) -> bytes:
    return json.dumps({kind: key.hex()}, separators=(",", ":")).encode() + b"\n"


def schema_of(attributes: Iterable[str]) -> pa.Schema:
    """Return the columns of an archive."""
    return pa.schema(
        [
            ("text", pa.string()),
            ("language", pa.string()),
            ("status", pa.string()),
            *((name, pa.float64()) for name in attributes),
            ("reason", pa.string()),
            ("detected_languages", pa.list_(pa.string())),
            ("asked_at", pa.timestamp("ms", tz="UTC")),
            ("request", pa.string()),
            ("response", pa.string()),
        ]
    )


def now() -> str:
    """Return this moment, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
