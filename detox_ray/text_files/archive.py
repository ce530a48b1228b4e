"""`detox-ray archive`: what the Perspective API says of files of texts, kept for the time after it.

Each distinct text and language is asked for once, whatever kills the command in between: an answer is on disk before
it counts, and the next run asks only for what is missing. A request that was on its way when the process was killed
outright (SIGKILL, power) is sent again, because nobody knows its answer; Ctrl-C and SIGTERM wait for these answers.

    ok                     the service gave every attribute that was asked for
    empty                  nothing but white space: not sent
    unsupported_language   the service does not know the language, or not for every attribute
    failed                 the service refuses the text, or it is too long; asked again with --retry-failed only

A text that got no answer at all (time-outs, 5xx) has no row: the next run asks for it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError, Problem
from detox_ray.score.perspective_requests import (
    Answered,
    GivenUp,
    Outage,
    PerspectiveRequests,
    Refused,
    address,
    body_of,
    check,
    unsendable,
    values_of,
)
from detox_ray.score.stored_scores import ARCHIVE
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.storage import Store
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import EMPTY, FAILED, OK, UNSUPPORTED
from detox_ray.text_files.archive_folder import ArchiveFolder, Row, now, text_id
from detox_ray.text_files.finish_time import date_in_words, end_warning, finish_time, in_words
from detox_ray.text_files.text_rows import TextColumns, check_files, read_rows

ATTRIBUTES = ("toxicity", "severe_toxicity", "identity_attack", "insult", "profanity", "threat")  # in all languages
SHOWN = 5  # unreadable rows that the outcome names
UNSUPPORTED_BY_ATTRIBUTE = "LANGUAGE_NOT_SUPPORTED"  # Google's word for it

Result = Answered | Refused | GivenUp


class ArchiveRequest(NamedTuple):
    """What to archive, where, and how fast."""

    files: Sequence[Path]
    out: str  # folder on this machine
    service: PerspectiveConfig
    columns: TextColumns = TextColumns()
    span_annotations: bool = False
    retry_failed: bool = False


class Inventory(NamedTuple):
    """What the files hold, and what is left to ask."""

    rows: int
    distinct: int  # texts and languages
    unreadable: list[str]  # "file:line: reason", the first of them
    unreadable_rows: int
    languages: dict[str, int]  # code -> distinct texts; "": the service detects it
    pending: int  # distinct texts that are to be sent
    seconds: float  # that this takes at the rate that is asked for


class ArchiveOutcome(NamedTuple):
    """What an archive holds after a run."""

    inventory: Inventory
    counts: dict[str, int]  # status -> distinct texts, of all runs
    asked: int  # texts that this run got an answer for
    unanswered: int  # texts that got none: the next run asks for them


class _Text(NamedTuple):
    text: str
    language: str | None


def check_request(request: ArchiveRequest) -> None:
    """Check everything that can be checked before a request is sent. Raises ConfigError with all problems."""
    problems = check_files(request.files)
    if not Store.at(request.out).is_local:
        rule = "must be a folder on this machine, for every answer is synced to disk as it comes; copy it afterwards"
        problems.append(Problem("--out", request.out, rule))
    if "toxicity" not in request.service.attributes:
        problems.append(Problem("--attribute", request.service.attributes, "toxicity must be one of them"))
    service = check(request.service.url, request.service.key_env)
    problems += [problem._replace(field=f"--{problem.field.replace('_', '-')}") for problem in service]
    if problems:
        raise ConfigError(problems)


def _settings(request: ArchiveRequest) -> dict[str, Any]:
    """Return what all answers of an archive have in common."""
    return {
        "url": address(request.service.url),
        "attributes": list(request.service.attributes),
        "span_annotations": request.span_annotations,
    }


def take_inventory(request: ArchiveRequest, archive: ArchiveFolder | None) -> Inventory:
    """Read the files once, and count what they hold and what ``archive`` lacks. Nothing is sent."""
    rows = unreadable_rows = pending = 0
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
            pending += _is_sent(row.text, request) and _is_wanted(key, request, archive)
    seconds = pending / request.service.queries_per_second
    return Inventory(rows, len(seen), unreadable, unreadable_rows, dict(languages), pending, seconds)


def run(request: ArchiveRequest, progress: Progress) -> ArchiveOutcome:
    """Ask for everything that the archive lacks.

    Raises:
        ConfigError: The input is wrong; nothing was sent.
        ServiceDown: The service refuses everybody, or does not answer any more. What it answered before is kept.
        Locked: Another process writes this archive.
    """
    check_request(request)
    store = Store.at(request.out)
    with run_lock(store), closing(ArchiveFolder(store, _settings(request))) as archive:
        inventory = take_inventory(request, archive)
        announce(request, inventory, progress)
        asking = _Asking(request, archive, progress, inventory.pending)
        asking.ask_all()
        return ArchiveOutcome(inventory, dict(archive.counts), asking.answered, asking.unanswered)


def dry_run(request: ArchiveRequest) -> Inventory:
    """Count what the files hold, and what the archive lacks if there is one. Needs no key, and sends nothing."""
    if problems := check_files(request.files):
        raise ConfigError(problems)
    store = Store.at(request.out)
    if not store.exists(ARCHIVE):
        return take_inventory(request, None)
    with run_lock(store), closing(ArchiveFolder(store, _settings(request))) as archive:
        return take_inventory(request, archive)


def announce(request: ArchiveRequest, inventory: Inventory, progress: Progress) -> None:
    """Say what the files hold, how long the rest takes, and whether the service ends before."""
    known = inventory.distinct - inventory.pending
    progress.say(
        f"{inventory.rows:,} rows, {inventory.distinct:,} distinct texts: {known:,} need no request, "
        f"{inventory.pending:,} to ask for"
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


class _Asking:
    """One run: texts go out at the service's pace, and each answer is kept before the next text is taken."""

    def __init__(self, request: ArchiveRequest, archive: ArchiveFolder, progress: Progress, pending: int):
        self._request, self._archive, self._progress, self._pending = request, archive, progress, pending
        self._stop = threading.Event()
        service = request.service
        self._requests = PerspectiveRequests(
            "archive",
            service.url,
            service.key_env,
            service.queries_per_second,
            service.timeout,
            service.retries,
            sleep=lambda seconds: void(self._stop.wait(seconds)),
        )
        self._outage = Outage("archive")
        self._flights: dict[Future[Result], tuple[_Text, str]] = {}  # in flight: the text, and when it was taken
        self.answered = self.unanswered = 0

    def ask_all(self) -> None:
        """Ask for all texts. If it is interrupted, the answers that are on their way are kept, too."""
        with (
            self._progress.task("archive", self._pending, "texts") as self._task,
            ThreadPoolExecutor(self._requests.in_flight) as pool,
        ):
            try:
                for text in self._wanted():
                    if len(self._flights) == self._requests.in_flight:
                        self._land(FIRST_COMPLETED)
                    body = self._body(text)
                    flight = pool.submit(self._requests.ask, body, self._request.service.attributes, self._stop)
                    self._flights[flight] = (text, now())
                while self._flights:
                    self._land(FIRST_COMPLETED)
                if self.unanswered and not self.answered:
                    self._outage.end(lambda: True)
            finally:
                self._stop.set()
                wait(self._flights)
                for flight, (text, asked_at) in self._flights.items():
                    if flight.exception() is None and not isinstance(result := flight.result(), GivenUp):
                        self._archive.add(self._row(text, asked_at, result))

    def _body(self, text: _Text) -> dict[str, Any]:
        return body_of(text.text, text.language, self._request.service.attributes, self._request.span_annotations)

    def _wanted(self) -> Iterator[_Text]:
        """Yield the texts to send, each once; keep the rows of texts that are never sent."""
        seen: set[bytes] = set()
        for path in self._request.files:
            for row in read_rows(path, self._request.columns):
                if row.text is None or row.reason is not None:
                    continue
                key = text_id(row.text, row.language)
                if key in seen or not _is_wanted(key, self._request, self._archive):
                    continue
                seen.add(key)
                if _is_sent(row.text, self._request):
                    yield _Text(row.text, row.language)
                else:
                    reason = unsendable(row.text, self._request.service.max_bytes) if row.text.strip() else None
                    status = FAILED if reason else EMPTY
                    self._archive.add(Row(row.text, row.language, status, reason, {}, [], now(), None, None))

    def _land(self, condition: str) -> None:
        """Keep the answers that have come; wait for one if there is none."""
        done, _ = wait(self._flights, return_when=condition)
        for flight in done:
            text, asked_at = self._flights[flight]
            result = flight.result()
            if isinstance(result, GivenUp):
                self.unanswered += 1
            else:
                self._archive.add(self._row(text, asked_at, result))
                self.answered += 1
            del self._flights[flight]  # not before it is kept
            self._outage.see(result)
            self._task.advance(1, self._note())

    def _note(self) -> str:
        left = self._pending - self._task.done - 1
        finish = finish_time(max(0, left), 1 / self._requests.pace.interval, datetime.now(UTC))
        lost = f", {self.unanswered} without an answer" if self.unanswered else ""
        return f"until {finish.astimezone():%d %b %H:%M}{lost}"

    def _row(self, text: _Text, asked_at: str, result: Answered | Refused) -> Row:
        attributes = self._request.service.attributes
        request = self._body(text)
        del request["comment"]["text"]  # the row has it already
        if isinstance(result, Refused):
            unsupported = UNSUPPORTED_BY_ATTRIBUTE in str(result.error.get("details"))
            status = UNSUPPORTED if unsupported else FAILED
            return Row(*text, status, result.reason, {}, [], asked_at, request, result.error or None)
        response = result.response
        values = values_of(response, attributes)
        wrong = [name for name, value in values.items() if not _is_score(value)]
        status, reason = (FAILED, f"no number in [0, 1]: {', '.join(wrong)}") if wrong else (OK, None)
        detected = response.get("detectedLanguages") or response.get("languages")
        names = [str(name) for name in detected] if isinstance(detected, list) else []
        return Row(*text, status, reason, {} if wrong else values, names, asked_at, request, response)


def void(_: object) -> None:
    """Drop a value."""


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_sent(text: str, request: ArchiveRequest) -> bool:
    return bool(text.strip()) and unsendable(text, request.service.max_bytes) is None


def _is_wanted(key: bytes, request: ArchiveRequest, archive: ArchiveFolder | None) -> bool:
    status = None if archive is None else archive.status(key)
    return status is None or (request.retry_failed and status == FAILED)
