"""One run on one folder: who is refused, and whose lock no longer counts."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from detox_ray import lock
from detox_ray.lock import BEAT_S, PATH, STALE_S, Locked, run_lock
from detox_ray.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path))


def held_by(store: Store, **fields: Any) -> None:
    now = time.time()
    holder = {"token": "other", "host": socket.gethostname(), "pid": 1, "process_started": 0.0, "since": now}
    store.write_json(PATH, holder | {"beat": now} | fields)


def token(store: Store) -> str:
    return store.read_json(PATH)["token"]


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
    program = "import sys; from detox_ray.store import Store; from detox_ray.lock import run_lock\n"
    program += "with run_lock(Store.at(sys.argv[1])): print('held')"
    with run_lock(store):
        other = subprocess.run([sys.executable, "-c", program, store.uri], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "Locked: " in other.stderr
    after = subprocess.run([sys.executable, "-c", program, store.uri], capture_output=True, text=True, check=False)
    assert after.stdout == "held\n"


def test_the_lock_is_gone_after_the_run_even_if_it_failed(store: Store) -> None:
    with pytest.raises(RuntimeError, match="failed"), run_lock(store):
        raise RuntimeError("failed")
    assert not store.exists(PATH)
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


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"null", b'"text"', b"[1]", b'{"host": "another-machine"}'])
def test_a_damaged_lock_holds_nothing(store: Store, content: bytes) -> None:
    store.write_bytes(PATH, content)
    with run_lock(store):
        assert token(store)


def test_of_two_that_begin_together_the_earlier_writer_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write_json

    def overtaken(self: Store, path: str, value: Any) -> None:
        write(self, path, value)
        write(self, path, value | {"token": "other"})

    monkeypatch.setattr(Store, "write_json", overtaken)
    with pytest.raises(Locked, match="another run began in the same moment"), run_lock(store):
        pass
    assert token(store) == "other"


def test_a_lock_that_was_taken_over_is_left_alone(store: Store) -> None:
    with run_lock(store):
        held_by(store)
    assert token(store) == "other"


def test_a_beat_renews_the_lock_and_survives_a_storage_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any) -> None:
        raise OSError("no route to host")

    held_by(store, beat=0.0)
    me = store.read_json(PATH)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_json", unreachable)
        assert lock._show_life(store, me)
    assert store.read_json(PATH)["beat"] == 0.0
    assert lock._show_life(store, me)
    assert store.read_json(PATH)["beat"] > 0.0


def test_a_beat_does_not_take_back_a_lost_lock(store: Store) -> None:
    held_by(store)
    assert not lock._show_life(store, store.read_json(PATH) | {"token": "mine"})
    assert token(store) == "other"
