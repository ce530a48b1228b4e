"""One run on one folder: who is refused, whose lock no longer counts, and what a run that lost its own may do."""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from detox_ray.cluster import interrupt
from detox_ray.storage import Store, lock
from detox_ray.storage.conditional_writes import ConditionalFile, conditional_file
from detox_ray.storage.lock import BEAT_S, LIMIT_S, PATH, STALE_S, Locked, LockLost, run_lock
from detox_ray.storage.tables import CHECKPOINTS


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "local":
        return Store.at(str(tmp_path / "mine"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    endpoint = request.getfixturevalue("s3_endpoint")
    return Store.at(f"s3://bucket/{tmp_path.name}/mine?endpoint_override={endpoint}&scheme=http&region=us-east-1")


def lock_file(store: Store) -> ConditionalFile:
    return conditional_file(store.location.child(PATH))


def written(store: Store, data: bytes) -> None:
    """Put ``data`` into the lock, whatever is there, its holder's next beat included."""
    file = lock_file(store)
    while True:
        found = file.read()
        if (file.replace(data, found.version) if found else file.create(data)) is not None:
            return


def held_by(store: Store, **fields: Any) -> None:
    now = time.time()
    holder = {"token": "other", "host": socket.gethostname(), "pid": 1, "process_started": 0.0, "since": now}
    written(store, json.dumps(holder | {"beat": now} | fields).encode())


def content(store: Store) -> dict[str, Any]:
    found = lock_file(store).read()
    assert found is not None
    return json.loads(found.data)


def token(store: Store) -> str:
    return content(store)["token"]


def test_a_second_run_is_refused_and_told_who_holds_the_folder(store: Store) -> None:
    with run_lock(store):
        mine = token(store)
        with pytest.raises(Locked) as caught, run_lock(store):
            pass
        assert token(store) == mine
    message = str(caught.value)
    assert store.uri in message
    assert f"process {os.getpid()} on {socket.gethostname()} since 20" in message
    assert "another name" in message


def test_a_run_in_another_process_is_refused(store: Store) -> None:
    program = "import sys; from detox_ray.storage import Store; from detox_ray.storage.lock import run_lock\n"
    program += "with run_lock(Store.at(sys.argv[1])): print('held')"
    with run_lock(store):
        other = subprocess.run([sys.executable, "-c", program, store.uri], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "Locked: " in other.stderr
    after = subprocess.run([sys.executable, "-c", program, store.uri], capture_output=True, text=True, check=False)
    assert after.stdout == "held\n"


def test_who_is_refused_learns_when_a_run_killed_elsewhere_frees_the_folder(store: Store) -> None:
    held_by(store, host="elsewhere")
    with pytest.raises(Locked, match="if it was killed, the folder is free 120 s after"), run_lock(store):
        pass


def test_the_lock_is_gone_after_the_run_even_if_it_failed(store: Store) -> None:
    with pytest.raises(RuntimeError, match="failed"), run_lock(store):
        raise RuntimeError("failed")
    assert "token" not in content(store)
    with run_lock(store):
        pass


def test_a_killed_run_on_this_machine_holds_nothing(store: Store) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    held_by(store, pid=ended.pid)
    with run_lock(store):
        assert token(store) != "other"


def test_a_killed_run_that_nobody_waited_for_holds_nothing(store: Store) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(killed.pid).create_time()
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    held_by(store, pid=killed.pid, process_started=started)
    with run_lock(store):
        assert token(store) != "other"
    killed.communicate()


def test_a_reused_process_number_holds_nothing(store: Store) -> None:
    held_by(store, pid=os.getpid(), process_started=psutil.Process().create_time() - 1000)
    with run_lock(store):
        assert token(store) != "other"


def test_a_living_process_holds_however_old_its_beat(store: Store) -> None:
    held_by(store, pid=os.getpid(), process_started=psutil.Process().create_time(), beat=0.0)
    with pytest.raises(Locked), run_lock(store):
        pass


def test_a_run_elsewhere_holds_while_it_shows_life(store: Store) -> None:
    held_by(store, host="another-machine", beat=time.time() - STALE_S / 2)
    with pytest.raises(Locked, match="on another-machine"), run_lock(store):
        pass
    held_by(store, host="another-machine", beat=time.time() - STALE_S - 1)
    with run_lock(store):
        assert token(store) != "other"


def test_a_beat_comes_well_before_the_lock_is_stale() -> None:
    assert BEAT_S * 3 < STALE_S


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"null", b'"text"', b"[1]", b'{"host": "another-machine"}'])
def test_a_damaged_lock_holds_nothing(store: Store, data: bytes) -> None:
    written(store, data)
    with run_lock(store):
        assert token(store)


def race(store: Store, starters: int) -> int:
    """How many of ``starters`` that begin together get the lock; all hold on until every one has tried."""
    begin, tried = threading.Barrier(starters), threading.Barrier(starters)

    def start(_: int) -> bool:
        mine = Store(store.uri)
        begin.wait()
        try:
            with run_lock(mine):
                tried.wait()
                return True
        except Locked:
            tried.wait()
            return False

    with ThreadPoolExecutor(starters) as pool:
        return sum(pool.map(start, range(starters)))


@pytest.mark.parametrize("races", [10, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("before", ["nothing", "a dead run"])
def test_of_eight_that_begin_together_exactly_one_wins(store: Store, before: str, races: int) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for number in range(races if store.is_local or races > 10 else 2):
        run = Store(store.location.child(f"run-{number}").uri)
        if before != "nothing":
            held_by(run, pid=ended.pid)
        assert race(run, 8) == 1


def test_a_lock_that_was_taken_over_is_left_alone(store: Store) -> None:
    with pytest.raises(LockLost, match=r"process 1 on .* took it over"), run_lock(store):
        held_by(store)
        raise RuntimeError("what a worker's refused commit looks like")
    assert token(store) == "other"
    with run_lock(Store(store.location.child("b").uri)):
        held_by(Store(store.location.child("b").uri))
    assert token(Store(store.location.child("b").uri)) == "other"


def test_a_run_that_slept_while_another_took_over_writes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = CHECKPOINTS.unit(model="detox")
    with pytest.raises(LockLost, match="repeat the same command"), run_lock(store):
        worker = pickle.loads(pickle.dumps(store))
        held_by(store, host="another-machine")
        with pytest.raises(LockLost, match="another-machine"):
            worker.commit(unit, "k", None)
        hour_later = lock._awake() + 3600
        monkeypatch.setattr(lock, "_awake", lambda: hour_later)
        store.commit(unit, "k", None)
    assert store.committed(CHECKPOINTS) == {}
    assert token(store) == "other"


def test_a_run_that_slept_and_was_not_missed_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = CHECKPOINTS.unit(model="detox")
    with run_lock(store):
        hour_later = lock._awake() + 3600
        monkeypatch.setattr(lock, "_awake", lambda: hour_later)
        store.commit(unit, "k", None)
        pickle.loads(pickle.dumps(store)).commit(unit, "k2", None)
    assert store.committed(CHECKPOINTS) == {unit: "k2"}


def test_a_storage_that_does_not_answer_for_too_long_ends_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        raise OSError("no route to host")

    lease = lock.Lease(store, lock_file(store))
    lease.acquire()
    monkeypatch.setattr(type(lock_file(store)), "replace", unreachable)
    lease.renew()
    lease.check()
    late = lock._awake() + LIMIT_S + 1
    monkeypatch.setattr(lock, "_awake", lambda: late)
    with pytest.raises(LockLost, match=r"did not answer for 7[5-9] s"):
        lease.check()


def test_a_lost_lock_ends_a_run_that_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    before = signal.signal(signal.SIGINT, interrupt.handler)  # as the command line does: a shell's "&" ignores it
    monkeypatch.setattr(interrupt, "_asked", False)
    try:
        with pytest.raises(LockLost), run_lock(store):
            held_by(store)
            threading.Event().wait(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert token(store) == "other"


def test_a_beat_renews_the_lock(store: Store) -> None:
    lease = lock.Lease(store, lock_file(store))
    lease.acquire()
    before = content(store)
    lease.renew()
    after = content(store)
    assert after["beat"] > before["beat"]
    assert after["token"] == before["token"]


def test_a_lock_that_was_removed_by_hand_is_made_again(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    lease = lock.Lease(store, lock_file(store))
    lease.acquire()
    mine = token(store)
    shutil.rmtree(tmp_path / PATH)
    lease.renew()
    lease.check()
    assert token(store) == mine


def test_a_holder_gives_up_before_others_may_take_over() -> None:
    assert BEAT_S * 3 < LIMIT_S < STALE_S - BEAT_S * 2
