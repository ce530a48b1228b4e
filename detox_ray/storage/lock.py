"""One run on one folder at a time.

The lock is a file in the run's folder that says who holds it, and when the holder last renewed it. It changes only by
conditional writes (conditional_writes.py), so of any number of runs that start at the same instant exactly one gets it,
even if all of them find the lock of a dead run. A killed run does not block the next one: a lock is free if its holder
was a process of this machine that no longer lives, or one elsewhere that did not renew it for `STALE_S`. The clocks of
machines that share a folder may differ by up to `STALE_S - LIMIT_S`.

A run can lose its lock if its machine sleeps or cannot reach the storage, and another run takes over. From then on it
writes nothing: `Store` asks the fence before each write. The driver's fence (`Lease`) knows when it last renewed the
lock. If that was more than `LIMIT_S` ago, it renews the lock before it answers; another run cannot have taken it
earlier than that. The workers' fence (`TokenFence`) reads the lock. One gap remains: a process that is suspended
between the fence's answer and the write that follows it.
"""

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psutil

from detox_ray.config.storage_uri import locate
from detox_ray.storage.conditional_writes import ConditionalFile, Version, conditional_file
from detox_ray.storage.store import Store

BEAT_S = 15
LIMIT_S = 75  # a holder that could not renew its lock for this long no longer holds it
STALE_S = 120  # other runs may take a lock that was not renewed for this long
TRUST_S = 5  # a worker reads the lock again after this long
LOOK_S = 3  # a run that waits for a lock tries again after this long
ATTEMPTS = 20  # how often to try for a lock that keeps changing hands
PATH = "lock"
FIELDS = frozenset({"token", "host", "pid", "process_started", "since", "beat"})


class Locked(RuntimeError):
    """Another run holds the folder, so nothing was started."""


class LockLost(RuntimeError):
    """This run no longer holds its folder, so it commits nothing more."""


def _alive(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            process = psutil.Process(holder["pid"])
            # A killed process keeps its number, as a zombie, until its parent waits for it.
            return process.create_time() == holder["process_started"] and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
    return time.time() - holder["beat"] < STALE_S


def _holder(data: bytes) -> dict[str, Any] | None:
    """Return the holder that a lock's content names; None if the lock was released or is damaged."""
    try:
        held = json.loads(data)
    except ValueError:
        return None
    return held if isinstance(held, dict) and held.keys() >= FIELDS else None


def _described(holder: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"process {holder['pid']} on {holder['host']} since {since}"


def _awake() -> float:
    """Return the seconds of a clock that keeps running while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


class Lease:
    """The lock as its holder sees it; also the driver's fence."""

    def __init__(self, store: Store, file: ConditionalFile):
        self._uri, self._file = store.uri, file
        self._me = {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "since": time.time(),
        }
        self._renewing = threading.Lock()
        self._version: Version = None
        self._seen = 0.0  # when the lock was last known to be ours
        self.lost: str | None = None  # why the lock was lost; None while it is held

    def __reduce__(self) -> tuple[type["TokenFence"], tuple[str, str]]:
        return (TokenFence, (self._uri, str(self._me["token"])))

    def acquire(self) -> None:
        """Take the lock. Raises Locked, which names the holder, if another run has it."""
        for _ in range(ATTEMPTS):
            self._seen, content = _awake(), self._file.read()
            if content is None:
                self._version = self._file.create(self._content())
            else:
                holder = _holder(content.data)
                if holder and _alive(holder):
                    rule = "wait for it, stop it, or give this run another name"
                    if holder["host"] != socket.gethostname():
                        rule += f"; if it was killed, the folder is free {STALE_S} s after it last renewed its lock"
                    raise Locked(f"{self._uri} is in use by {_described(holder)}: {rule}")
                self._version = self._file.replace(self._content(), content.version)
            if self._version is not None:
                return
        raise Locked(
            f"{self._uri} could not be locked in {ATTEMPTS} attempts, because other runs keep starting and ending "
            "there: wait for them, or give this run another name"
        )

    def renew(self) -> None:
        """Renew the lock. Set ``lost`` if another run has it, or if the storage has not answered for `LIMIT_S`."""
        with self._renewing:
            if self.lost is not None:
                return
            now = _awake()
            try:
                version = self._file.replace(self._content(), self._version)
                if version is None:
                    version = self._version_now()
            except OSError as error:  # the storage may answer at the next beat
                if now - self._seen > LIMIT_S:
                    reason = f"the storage did not answer for {now - self._seen:.0f} s, and another run may take over"
                    self.lost = f"{reason} ({error})"
                return
            if version is not None:
                self._version, self._seen = version, now

    def _version_now(self) -> Version | None:
        """Return the version of a lock that is not as this run left it; set ``lost`` if another run has it."""
        content = self._file.read()
        if content is None:  # removed by hand
            return self._file.create(self._content())
        holder = _holder(content.data)
        if holder and holder["token"] == self._me["token"]:
            return content.version
        taker = _described(holder) if holder else "a run that has ended since"
        self.lost = f"{taker} took it over after this run had not renewed its lock for {_awake() - self._seen:.0f} s"
        return None

    def check(self) -> None:
        """Raise LockLost if another run holds the folder, or may hold it."""
        if self.lost is None and _awake() - self._seen > LIMIT_S:
            self.renew()
        if self.lost is not None:
            rule = "nothing more was committed; wait for the other run or stop it, then repeat the same command"
            raise LockLost(f"this run lost {self._uri}: {self.lost}; {rule}")

    def release(self) -> None:
        """Release the lock if this run holds it, by writing a content that names no holder."""
        with self._renewing, contextlib.suppress(OSError):
            if self.lost is None:
                self._file.replace(json.dumps({"released": uuid.uuid4().hex}).encode(), self._version)

    def _content(self) -> bytes:
        # The nonce keeps contents that are written at the same instant distinct: a version may be a checksum.
        return json.dumps(self._me | {"beat": time.time(), "nonce": uuid.uuid4().hex}).encode()


class TokenFence:
    """A worker's view of its driver's lock: the token that the lock must hold."""

    def __init__(self, uri: str, token: str):
        self._uri, self._token = uri, token
        self._read = float("-inf")  # when the lock last held the token

    def __reduce__(self) -> tuple[type["TokenFence"], tuple[str, str]]:
        return (TokenFence, (self._uri, self._token))

    @cached_property
    def _file(self) -> ConditionalFile:
        return conditional_file(locate(self._uri).child(PATH))

    def check(self) -> None:
        """Raise LockLost if another run holds the folder."""
        now = _awake()
        if now - self._read < TRUST_S:
            return
        content = self._file.read()
        holder = content and _holder(content.data)
        if content is not None and not (holder and holder["token"] == self._token):
            taker = _described(holder) if holder else "a run that has ended since"
            raise LockLost(f"{taker} took over {self._uri}; nothing more was committed")
        self._read = now


def _acquire(lease: Lease, wait_s: float, say: Callable[[str], None]) -> None:
    """Acquire the lock. Wait up to ``wait_s`` seconds if another run holds it, then raise Locked."""
    deadline = time.monotonic() + wait_s
    has_said = False
    while True:
        try:
            lease.acquire()
            return
        except Locked as error:
            if time.monotonic() >= deadline:
                raise
            if not has_said:
                has_said = True
                say(f"waits up to {wait_s:.0f} s for its folder: {error}")
        time.sleep(min(LOOK_S, wait_s))


@contextmanager
def run_lock(store: Store, wait_s: float = 0, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the run's folder for the duration of the block. Meanwhile ``store`` writes only while the lock is held.

    Args:
        store: The run's folder.
        wait_s: Seconds to wait if another run holds it.
        say: Called with a message if the call must wait.

    Raises:
        Locked: Another run holds the folder. The message names it.
        LockLost: The lock was lost during the block, which SIGINT then ends if it runs in the main thread.
    """
    lease = Lease(store, conditional_file(store.location.child(PATH)))
    _acquire(lease, wait_s, say)
    stop, signalling = threading.Event(), threading.Lock()
    in_main_thread = threading.current_thread() is threading.main_thread()

    def beat() -> None:
        while not stop.wait(BEAT_S):
            lease.renew()
            if lease.lost is not None:
                with signalling:
                    if in_main_thread and not stop.is_set():
                        os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=beat, name="run-lock", daemon=True)
    thread.start()
    store.fence = lease
    try:
        yield
    except BaseException:
        with signalling:
            stop.set()
        lease.renew()  # the block may have failed because the lock is lost
        if lease.lost is not None:
            lease.check()
        raise
    finally:
        with signalling:
            stop.set()
        thread.join()
        store.fence = None
        lease.release()
