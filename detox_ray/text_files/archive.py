"""`detox-ray archive`: what the Perspective API says of files of texts, kept for the time after it.

Each distinct text and language is asked for once, whatever kills the command in between: an answer is on disk before
its thread asks for another text, and the next run asks only for what is missing. A request that was on its way when the
process was killed outright (SIGKILL, power) is sent again, because nobody knows its answer. These requests are counted:
each is noted before it is sent. Ctrl-C and SIGTERM wait for the answers.

    ok                     the service gave every attribute that was asked for
    empty                  nothing but white space: not sent
    unsupported_language   the service does not know the language, or not for every attribute
    failed                 the service refuses the text, or it is too long; asked again with --retry-failed only

A text that got no answer at all (time-outs, 5xx) has no row: the next run asks for it.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
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
from detox_ray.score.scorers import ServiceDown
from detox_ray.score.stored_scores import ARCHIVE
from detox_ray.storage import Store
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import EMPTY, FAILED, OK, UNSUPPORTED
from detox_ray.text_files.archive_folder import ArchiveFolder, Row, now, text_id
from detox_ray.text_files.finish_time import finish_time
from detox_ray.text_files.inventory import (
    ArchiveRequest,
    Inventory,
    announce,
    is_sent,
    is_wanted,
    take_inventory,
)
from detox_ray.text_files.text_rows import check_files, read_rows

ATTRIBUTES = ("toxicity", "severe_toxicity", "identity_attack", "insult", "profanity", "threat")  # in all languages
UNSUPPORTED_BY_ATTRIBUTE = "LANGUAGE_NOT_SUPPORTED"  # Google's word for it

Result = Answered | Refused | GivenUp


class ArchiveOutcome(NamedTuple):
    """The state of an archive after a call."""

    inventory: Inventory
    counts: dict[str, int]  # status -> distinct texts, of all runs
    asked: int  # texts that this run got an answer for
    unanswered: int  # texts that got none: the next run asks for them
    repeated: int  # texts that this run sent again, because a killed run had sent them and kept no answer


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
        return ArchiveOutcome(inventory, dict(archive.counts), asking.answered, asking.unanswered, len(asking.repeated))


def dry_run(request: ArchiveRequest) -> Inventory:
    """Count what the files hold, and what the archive lacks if there is one. Needs no key, and sends nothing."""
    if problems := check_files(request.files):
        raise ConfigError(problems)
    store = Store.at(request.out)
    if not store.exists(ARCHIVE):
        return take_inventory(request, None)
    with run_lock(store), closing(ArchiveFolder(store, _settings(request))) as archive:
        return take_inventory(request, archive)


class _Asking:
    """One run: texts go out at the service's pace.

    The thread that asks for a text also keeps its answer, before it takes another text. So Ctrl-C, which interrupts the
    main thread anywhere, loses no answer.
    """

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
            sleep=self._sleep,
        )
        self._outage = Outage("archive")
        # Not `concurrent.futures.wait`: if it is interrupted while it takes the locks of all futures, it never gives
        # them back, and their threads wait for ever.
        self._landed: SimpleQueue[Future[Result]] = SimpleQueue()
        self._in_flight = 0
        self.answered = self.unanswered = 0
        self.repeated: set[bytes] = set()  # of what a killed run had sent

    def ask_all(self) -> None:
        """Ask for all texts. If it is interrupted, the answers that are on their way are kept, too."""
        with (
            self._progress.task("archive", self._pending, "texts") as self._task,
            ThreadPoolExecutor(self._requests.in_flight) as pool,
        ):
            try:
                for text in self._wanted():
                    if self._in_flight == self._requests.in_flight:
                        self._count_answers()
                    pool.submit(self._ask, text).add_done_callback(self._landed.put)
                    self._in_flight += 1
                while self._in_flight:
                    self._count_answers()
            finally:
                self._stop.set()  # the pool then waits for the requests that are on their way

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _ask(self, text: _Text) -> Result:
        asked_at = now()
        key, sent = text_id(*text), False

        def before_sending() -> None:
            nonlocal sent
            sent = True
            self._archive.note_sent(key)
            if key in self._archive.interrupted:
                self.repeated.add(key)

        try:
            result = self._requests.ask(self._body(text), self._request.service.attributes, self._stop, before_sending)
        except ServiceDown:
            self._archive.note_given_up(key)
            raise
        if not isinstance(result, GivenUp):
            self._archive.add(self._row(text, asked_at, result))
        elif sent:
            self._archive.note_given_up(key)
        return result

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
                if key in seen or not is_wanted(key, self._request, self._archive):
                    continue
                seen.add(key)
                if is_sent(row.text, self._request):
                    yield _Text(row.text, row.language)
                else:
                    reason = unsendable(row.text, self._request.service.max_bytes) if row.text.strip() else None
                    status = FAILED if reason else EMPTY
                    self._archive.add(Row(row.text, row.language, status, reason, {}, [], now(), None, None))

    def _count_answers(self) -> None:
        """Wait for an answer, and count all that have come. Raises ServiceDown if there are none any more."""
        done = [self._landed.get()]
        with suppress(Empty):
            while True:
                done.append(self._landed.get_nowait())
        for flight in done:
            self._in_flight -= 1
            result = flight.result()
            if isinstance(result, GivenUp):
                self.unanswered += 1
            else:
                self.answered += 1
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


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
