"""The inventory of files and of their archive before any request: number of texts, duration, and end."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from detox_ray.cluster.progress import Progress
from detox_ray.score.perspective_requests import unsendable
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.storage.tables import FAILED
from detox_ray.text_files.archive_folder import ArchiveFolder, text_id
from detox_ray.text_files.finish_time import date_in_words, end_warning, finish_time, in_words
from detox_ray.text_files.text_rows import TextColumns, read_rows

SHOWN = 5  # unreadable rows that the inventory names


class ArchiveRequest(NamedTuple):
    """A request to archive files: files, folder, service and rate."""

    files: Sequence[Path]
    out: str  # folder on this machine
    service: PerspectiveConfig
    columns: TextColumns = TextColumns()
    span_annotations: bool = False
    retry_failed: bool = False


class Inventory(NamedTuple):
    """The texts in the files, and those that are still to be asked for."""

    rows: int
    distinct: int  # texts and languages
    unreadable: list[str]  # "file:line: reason", the first of them
    unreadable_rows: int
    languages: dict[str, int]  # code -> distinct texts; "": the service detects it
    pending: int  # distinct texts that are to be sent
    seconds: float  # that this takes at the rate that is asked for
    interrupted: int  # of those to be sent, sent before by a run that was killed before the answer was kept


def take_inventory(request: ArchiveRequest, archive: ArchiveFolder | None) -> Inventory:
    """Read the files once, and count what they hold and what ``archive`` lacks. Nothing is sent."""
    rows = unreadable_rows = pending = interrupted = 0
    unreadable: list[str] = []
    seen: set[bytes] = set()
    languages: Counter[str] = Counter()
    for path in request.files:
        for row in read_rows(path, request.columns):
            rows += 1
            if row.text is None or row.reason is not None:
                unreadable_rows += 1
                if len(unreadable) < SHOWN:
                    unreadable.append(f"{row.place}: {row.reason}")
                continue
            key = text_id(row.text, row.language)
            if key in seen:
                continue
            seen.add(key)
            languages[row.language or ""] += 1
            if is_sent(row.text, request) and is_wanted(key, request, archive):
                pending += 1
                interrupted += archive is not None and key in archive.interrupted
    seconds = pending / request.service.queries_per_second
    return Inventory(rows, len(seen), unreadable, unreadable_rows, dict(languages), pending, seconds, interrupted)


def announce(request: ArchiveRequest, inventory: Inventory, progress: Progress) -> None:
    """Say what the files hold, how long the rest takes, and whether the service ends before."""
    known = inventory.distinct - inventory.pending
    progress.say(
        f"{inventory.rows:,} rows, {inventory.distinct:,} distinct texts: {known:,} need no request, "
        f"{inventory.pending:,} to ask for"
    )
    if inventory.interrupted:
        progress.say(
            f"{inventory.interrupted:,} requests were on their way when an earlier run was killed: nobody kept their "
            "answers, so they are sent again"
        )
    for line in inventory.unreadable:
        progress.say(f"  left out: {line}")
    if inventory.unreadable_rows > len(inventory.unreadable):
        progress.say(f"  left out: {inventory.unreadable_rows - len(inventory.unreadable):,} more rows")
    if inventory.pending:
        rate = request.service.queries_per_second
        finish = finish_time(inventory.pending, rate, datetime.now(UTC))
        progress.say(f"at {rate:g} a second: {in_words(inventory.seconds)}, until {date_in_words(finish)}")
        if warning := end_warning(request.service.url, finish):
            progress.say(warning)


def is_sent(text: str, request: ArchiveRequest) -> bool:
    """Return whether a text goes to the service: it is not blank, and not too long."""
    return bool(text.strip()) and unsendable(text, request.service.max_bytes) is None


def is_wanted(key: bytes, request: ArchiveRequest, archive: ArchiveFolder | None) -> bool:
    """Return whether the archive lacks a text, or is to ask for it again."""
    status = None if archive is None else archive.status(key)
    return status is None or (request.retry_failed and status == FAILED)
