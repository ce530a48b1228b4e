"""The attempts at a run: the drivers of jobs record them in its folder, for anybody with access to it to read.

    attempts/0002-detox-toy17-1a2b3c4d-1/alive.json       who carries out the run, and when they last showed life
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.storage.folder import Folder

JOB_VARIABLE = "DETOX_RAY_JOB"
FOLDER = "attempts"
BEAT_S = 15
STALE_S = 120  # a driver without a beat for so long counts as lost
LOG_S = 5  # between uploads of new lines
PIECE_BYTES = 65_536
STATES = {0: "finished", 1: "failed", 2: "wrong input", 3: "stopped"}  # by exit code


class Attempt(NamedTuple):
    """One driver's attempt at a run."""

    number: int
    job_id: str
    host: str
    started: float  # seconds since 1970
    beat: float
    exit_code: int | None  # None: it has not ended, or was killed
    reason: str
    ended: float | None

    def state(self, now: float) -> str:
        """Return running, finished, failed, wrong input, stopped, or lost: no outcome, and no sign of life."""
        if self.exit_code is not None:
            return STATES.get(self.exit_code, "failed")
        return "running" if now - self.beat < STALE_S else "lost"

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.number:04d}-{self.job_id}"


def read_attempts(store: Folder) -> list[Attempt]:
    """Return the attempts at the run in a folder, the newest last."""
    files = set(store.files(FOLDER))
    attempts = []
    for file in sorted(files):
        named = re.fullmatch(rf"({FOLDER}/(\d+)-(.+))/alive\.json", file)
        if named is None:
            continue
        alive = store.read_json(file)
        outcome_file = f"{named[1]}/outcome.json"
        outcome = store.read_json(outcome_file) if outcome_file in files else {}
        attempts.append(
            Attempt(
                int(named[2]),
                named[3],
                alive["host"],
                alive["started"],
                alive["beat"],
                outcome.get("exit_code"),
                outcome.get("reason", ""),
                outcome.get("ended"),
            )
        )
    return sorted(attempts)


def deciding_attempt(attempts: list[Attempt], now: float) -> Attempt:
    """Return the attempt whose state is that of the run: the last to show life or to end.

    An attempt that was refused, as when the run was in use, does not count while another is at work.
    """
    at_work = [attempt for attempt in attempts if attempt.state(now) == "running"]
    last = max(attempts, key=lambda attempt: attempt.ended or attempt.beat)
    return at_work[-1] if at_work and last.state(now) == STATES[2] else last


def read_log(store: Folder, attempt: Attempt) -> str:
    """Return what the driver of an attempt printed, as far as it has been uploaded."""
    pieces = [file for file in store.files(attempt.folder) if "/log-" in file]
    return b"".join(store.read_bytes(piece) for piece in pieces).decode("utf-8", errors="replace")


@contextmanager
def recorded(uri: str, exit_code_of: Callable[[BaseException], int]) -> Iterator[None]:
    """Record the block as an attempt at the run in a folder, if this process is the driver of a submitted job.

    A storage that cannot be written does not end the block: the run itself reports it.

    Args:
        uri: The run's folder.
        exit_code_of: Returns the command's exit code for what the block raises.
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
        recorder.end(exit_code_of(error), reason)
        raise
    recorder.end(0, "")


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
        self._started = time.time()
        self._uploaded = 0  # bytes of the log
        self._complained = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="attempt", daemon=True)

    def start(self) -> None:
        """Choose the attempt's number, write that it is alive, and go on writing until `end`."""
        self._try(self._begin)
        self._thread.start()

    def end(self, exit_code: int, reason: str) -> None:
        """Write the rest of the log and the outcome."""
        self._ended.set()
        self._thread.join(timeout=60)
        sys.stdout.flush()
        sys.stderr.flush()
        outcome = {"exit_code": exit_code, "reason": reason[:2000], "ended": time.time()}
        self._try(self._upload_log)
        self._try(lambda: self._write("outcome.json", outcome))

    def _begin(self) -> None:
        numbers = [int(found[1]) for file in self._store.files(FOLDER) if (found := re.search(r"/(\d+)-", file))]
        self._folder = f"{FOLDER}/{max(numbers, default=0) + 1:04d}-{self._job_id}"
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
            "beat": time.time(),
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
            if not self._complained:
                self._complained = True
                print(f"the attempt is not recorded in {self._store.uri}: {error}", file=sys.stderr)
