"""Attempts at a run. The driver of each job records its own in the run's folder, for everybody with access to it.

    attempts/0002                                         claims the number for one driver
    attempts/0002-detox-toy17-1a2b3c4d-1/alive.json       who carries out the run; rewritten as a sign of life
    attempts/0002-detox-toy17-1a2b3c4d-1/log-00000.txt    what the driver printed, in pieces
    attempts/0002-detox-toy17-1a2b3c4d-1/outcome.json     how it ended; missing if the driver was killed

A driver records itself if `DETOX_RAY_JOB` is set: `detox-ray submit` sets it to the job's id. It keeps a log if its
output goes to a file, as that of a Ray job does.
"""

import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.storage import lock
from detox_ray.storage.conditional_writes import conditional_file
from detox_ray.storage.folder import Folder

JOB_VARIABLE = "DETOX_RAY_JOB"
FOLDER = "attempts"
BEAT_S = 15
STALE_S = 120  # seconds without a beat after which a driver counts as lost
LOG_S = 5  # between uploads of new lines
PIECE_BYTES = 65_536
STATES = {0: "finished", 1: "failed", 2: "wrong input", 3: "stopped", 5: "in use"}  # by exit code
REFUSED = ("wrong input", "in use")  # states of a driver that did nothing


class Attempt(NamedTuple):
    """One driver's attempt at a run. Times are seconds since 1970."""

    number: int
    job_id: str
    host: str
    started: float  # by the driver's clock
    beat: float  # the last sign of life, by the storage's clock, as are the next two
    exit_code: int | None  # None: it has not ended, or was killed
    reason: str
    ended: float | None
    read: float  # when this was read

    @property
    def state(self) -> str:
        """Return running, finished, failed, wrong input, stopped, in use, or lost: no outcome, and no sign of life."""
        if self.exit_code is not None:
            return STATES.get(self.exit_code, "failed")
        return "running" if self.read - self.beat < STALE_S else "lost"

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.number:04d}-{self.job_id}"


def read_attempts(store: Folder) -> list[Attempt]:
    """Return the attempts at the run in a folder, the newest last."""
    changed = {name: info.mtime.timestamp() for name, info in store.files_info(FOLDER).items()}
    now: float | None = None
    attempts = []
    for file in sorted(changed):
        named = re.fullmatch(rf"({FOLDER}/(\d+)-(.+))/alive\.json", file)
        if named is None:
            continue
        outcome_file = f"{named[1]}/outcome.json"
        ended = changed.get(outcome_file)
        if ended is None and now is None:
            now = _storage_time(store)
        alive, outcome = store.read_json(file), {} if ended is None else store.read_json(outcome_file)
        attempts.append(
            Attempt(
                number=int(named[2]),
                job_id=named[3],
                host=alive["host"],
                started=alive["started"],
                beat=changed[file],
                exit_code=outcome.get("exit_code"),
                reason=outcome.get("reason", ""),
                ended=ended,
                read=now or 0.0,
            )
        )
    return sorted(attempts)


def _storage_time(store: Folder) -> float:
    """Return the time of the storage's clock, from which the clocks of machines may differ.

    Without permission to write there, return the time of this machine.
    """
    name = f"{FOLDER}/clock-{uuid.uuid4().hex}"
    try:
        store.write_bytes(name, b"")
        now: float = store.files_info(FOLDER)[name].mtime.timestamp()
        store.delete(name)
        return now
    except (OSError, KeyError):
        return time.time()


def deciding_attempt(attempts: list[Attempt]) -> Attempt:
    """Return the attempt whose state is that of the run: the last one that showed life or ended.

    An attempt that was refused, for example because the run was in use, does not count while another one is running.
    """
    running = [attempt for attempt in attempts if attempt.state == "running"]
    last = max(attempts, key=lambda attempt: attempt.ended or attempt.beat)
    return running[-1] if running and last.state in REFUSED else last


def last_attempt(folder: str, job_id: str) -> Attempt | None:
    """Return the newest attempt of a job at the run in a folder; None if there is none, or if it cannot be read."""
    try:
        attempts = [attempt for attempt in read_attempts(Folder.at(folder)) if attempt.job_id == job_id]
    except Exception:  # this machine may have no access; pyarrow and the file systems raise many kinds
        return None
    return attempts[-1] if attempts else None


def read_log(store: Folder, attempt: Attempt) -> str:
    """Return what the driver of an attempt printed, as far as it has been uploaded."""
    pieces = [file for file in store.files(attempt.folder) if "/log-" in file]
    return b"".join(store.read_bytes(piece) for piece in pieces).decode("utf-8", errors="replace")


def lock_wait_s() -> float:
    """Return how long to wait for a run's folder that is in use: in a job, until a killed driver's lock is stale."""
    return lock.STALE_S + lock.BEAT_S if os.environ.get(JOB_VARIABLE) else 0.0


@contextmanager
def recorded(uri: str, exit_code_of: Callable[[BaseException], int], after_message: ExitStack) -> Iterator[None]:
    """Record the block as an attempt at the run in a folder, if this process is the driver of a submitted job.

    A storage that cannot be written does not end the block: the run itself reports it.

    Args:
        uri: The run's folder.
        exit_code_of: Returns the command's exit code for what the block raises.
        after_message: Ends after the message of an error is printed, so that the log has it. The outcome is written
            then.
    """
    job_id = os.environ.get(JOB_VARIABLE)
    if not job_id:
        yield
        return
    recorder = Recorder(Folder.at(uri), job_id, printed_file())
    recorder.start()
    try:
        yield
    except BaseException as error:
        reason = "asked to stop" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        after_message.callback(recorder.end, exit_code_of(error), reason)
        raise
    after_message.callback(recorder.end, 0, "")


def printed_file() -> Path | None:
    """Return the file that standard output goes to, as it does in a job's driver; None if it goes elsewhere."""
    try:
        path = Path(os.readlink("/proc/self/fd/1"))
    except OSError:
        return None
    return path if path.is_file() else None


class Recorder:
    """Writes an attempt's files, from a thread of its own."""

    def __init__(self, store: Folder, job_id: str, printed: Path | None):
        self._store = store
        self._job_id = job_id
        self._printed = printed
        self._folder = ""
        self._claim = uuid.uuid4().hex.encode()
        self._started = time.time()
        self._uploaded = 0  # bytes of the log
        self._reported = False  # whether a failure to write was reported
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="attempt", daemon=True)

    def start(self) -> None:
        """Claim the attempt's number, write the first sign of life, and keep writing until `end`."""
        self._try(self._begin)
        self._thread.start()

    def end(self, exit_code: int, reason: str) -> None:
        """Write the rest of the log and the outcome."""
        self._ended.set()
        self._thread.join(timeout=60)
        sys.stdout.flush()
        sys.stderr.flush()
        outcome = {"exit_code": exit_code, "reason": reason[:2000]}
        self._try(self._upload_log)
        self._try(lambda: self._write("outcome.json", outcome))

    def _begin(self) -> None:
        """Claim the next number. Drivers that begin at the same time get different ones."""
        numbers = [int(found[1]) for file in self._store.files(FOLDER) if (found := re.match(rf"{FOLDER}/(\d+)", file))]
        number = max(numbers, default=0) + 1
        while conditional_file(self._store.location.child(f"{FOLDER}/{number:04d}")).create(self._claim) is None:
            number += 1
        self._folder = f"{FOLDER}/{number:04d}-{self._job_id}"
        self._beat()

    def _work(self) -> None:
        next_beat = time.monotonic() + BEAT_S
        while not self._ended.wait(LOG_S):
            if not self._folder:  # the storage could not be reached at the start
                self._try(self._begin)
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_S
                self._try(self._beat)
            self._try(self._upload_log)

    def _beat(self) -> None:
        alive = {
            "job": self._job_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": self._started,
        }
        self._write("alive.json", alive)

    def _upload_log(self) -> None:
        """Upload what was printed since the last call. A piece is written again until it is full."""
        if self._printed is None or not self._folder:
            return
        while self._printed.stat().st_size > self._uploaded:
            number = self._uploaded // PIECE_BYTES
            with self._printed.open("rb") as file:
                file.seek(number * PIECE_BYTES)
                piece = file.read(PIECE_BYTES)
            self._store.write_bytes(f"{self._folder}/log-{number:05d}.txt", piece)
            self._uploaded = number * PIECE_BYTES + len(piece)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if self._folder:
            self._store.write_bytes(f"{self._folder}/{name}", json.dumps(content, indent=1).encode())

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # pyarrow and the file systems raise many kinds
            if not self._reported:
                self._reported = True
                message = f"this attempt is not recorded in {self._store.uri} ({error}); the run continues"
                print(message, file=sys.stderr)
