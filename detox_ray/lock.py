"""One run on one folder at a time.

The lock is a file in the run's folder that says who holds it and when they last showed life. A holder on this machine
that no longer lives, and one elsewhere that showed no life for `STALE_S`, hold nothing any more: a killed run does not
block the next one. Object stores offer no create-if-absent through pyarrow, so the lock is written and then read back:
of two runs that begin in the same instant the later writer wins and the other one is refused.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from detox_ray.store import Store, StoreError

BEAT_S = 15
STALE_S = 120
PATH = "lock.json"
FIELDS = frozenset({"token", "host", "pid", "process_started", "since", "beat"})


class Locked(RuntimeError):
    """Another run holds the folder."""


def _alive(holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            process = psutil.Process(holder["pid"])
            # A killed process that nobody waited for still has its number.
            return process.create_time() == holder["process_started"] and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
    return time.time() - holder["beat"] < STALE_S


def _holder(store: Store) -> dict[str, Any] | None:
    """Who the lock names; None where there is no lock, or a damaged one."""
    try:
        held = store.read_json(PATH)
    except (FileNotFoundError, StoreError):
        return None
    return held if isinstance(held, dict) and held.keys() >= FIELDS else None


def _show_life(store: Store, me: dict[str, Any]) -> bool:
    """Renew the lock. False where it is lost: this process slept so long that another run took over."""
    try:
        if (_holder(store) or me)["token"] != me["token"]:
            return False
        store.write_json(PATH, me | {"beat": time.time()})
    except OSError:  # a storage that fails once may answer the next beat
        pass
    return True


@contextmanager
def run_lock(store: Store) -> Iterator[None]:
    """Hold the run's folder for the duration of the block. Raises Locked with who holds it."""
    held = _holder(store)
    if held and _alive(held):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held["since"]))
        raise Locked(
            f"{store.uri} is in use by process {held['pid']} on {held['host']} since {since}; "
            "wait for it, stop it, or give this run another name"
        )
    me = {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "since": time.time(),
    }
    store.write_json(PATH, me | {"beat": time.time()})
    if (_holder(store) or {}).get("token") != me["token"]:
        raise Locked(f"{store.uri}: another run began in the same moment and holds it")
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_S) and _show_life(store, me):
            pass

    thread = threading.Thread(target=beat, name="run-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if (_holder(store) or {}).get("token") == me["token"]:
            store.delete(PATH)
