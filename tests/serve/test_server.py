"""The HTTP server: keys, requests in flight, time-outs, shutdown. Engines are fakes, sockets and signals real."""

import multiprocessing
import multiprocessing.process
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_server import main

from detox_ray.config import ConfigError
from detox_ray.serve.http import keys
from detox_ray.serve.http.server import bound_socket

ALICE, BOB = keys.new_key("alice"), keys.new_key("bob")
ASK = {"model": "base", "prompt": "the king", "max_tokens": 4}
TIMEOUT_S = 3.0


class RunningServer(NamedTuple):
    url: str
    process: multiprocessing.process.BaseProcess
    connection: Connection

    def exit_code(self) -> int | None:
        self.process.join(30)
        return self.process.exitcode


# Its processes are copies of one that has imported the server.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["detox_ray.serve.fastapi_app", "detox_ray.serve.http.server"])


@contextmanager
def running(folder: Path, **limits: float) -> Iterator[RunningServer]:
    ours, its = processes.Pipe()
    process = processes.Process(target=main, args=(its, folder, f"{ALICE[1]},{BOB[1]}", limits))
    process.start()
    its.close()
    try:
        assert ours.poll(120)
        yield RunningServer(ours.recv(), process, ours)
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("run"), in_flight=2, in_flight_total=3, timeout_s=TIMEOUT_S) as made:
        yield made


class Held:
    """A request whose body is not complete: it stays in flight as long as the test needs."""

    def __init__(self, url: str, key: str):
        to = urlsplit(url)
        body = b'{"model": "base", "prompt": "the king", "max_tokens": 4, "stream": true}'
        self._rest = body[-1:]
        self._socket = socket.create_connection((to.hostname, to.port), timeout=60)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: {to.netloc}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body[:-1])

    def leave(self) -> None:
        self._socket.close()

    def finish(self) -> str:
        self._socket.sendall(self._rest)
        return self.answer()

    def answer(self) -> str:
        with self._socket, self._socket.makefile("rb") as said:
            return said.read().decode()


def ask(url: str, key: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json=ASK, headers={"authorization": f"Bearer {key}"}, timeout=60)


def in_flight(url: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {ALICE[0]}"}, timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == "detox_ray_in_flight")


def wait_until_in_flight(url: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while in_flight(url) != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_it_drains(url: str) -> None:
    deadline = time.monotonic() + 30
    while httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ending(server: RunningServer, by: signal.Signals) -> Held:
    """A request that is in flight when the server gets the signal to stop."""
    held = Held(server.url, ALICE[0])
    wait_until_in_flight(server.url, 1)
    os.kill(server.process.pid or 0, by)
    return held


def test_client_that_leaves_is_not_in_flight(server: RunningServer) -> None:
    begun = time.monotonic()
    held = Held(server.url, ALICE[0])
    wait_until_in_flight(server.url, 1)
    held.leave()
    wait_until_in_flight(server.url, 0)
    assert time.monotonic() - begun < TIMEOUT_S


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_client_has_asked_for_ends_when_it_leaves(server: RunningServer, stream: bool) -> None:
    begun = time.monotonic()
    with httpx.Client(headers={"authorization": f"Bearer {ALICE[0]}"}) as client, pytest.raises(httpx.ReadTimeout):
        body = {**ASK, "model": "never", "stream": stream}
        client.post(f"{server.url}/v1/completions", json=body, timeout=httpx.Timeout(30, read=0.3))
    wait_until_in_flight(server.url, 0)
    assert time.monotonic() - begun < TIMEOUT_S


def test_full_service_says_when_to_come_again_and_gives_up_what_never_ends(server: RunningServer) -> None:
    begun = time.monotonic()
    held = [Held(server.url, ALICE[0]) for _ in range(2)]
    wait_until_in_flight(server.url, 2)
    refused = ask(server.url, ALICE[0])
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert ask(server.url, BOB[0]).status_code == 200
    for each in held:
        assert each.answer().startswith("HTTP/1.1 504 ")
    assert time.monotonic() - begun >= TIMEOUT_S
    wait_until_in_flight(server.url, 0)


def test_answers_do_not_say_what_software_gave_them(server: RunningServer) -> None:
    assert "server" not in ask(server.url, ALICE[0]).headers


def test_first_signal_lets_requests_end_and_takes_no_more(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        held = ending(server, signal.SIGTERM)
        wait_until_it_drains(server.url)
        late = ask(server.url, BOB[0])
        assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
        answer = held.finish()
        assert answer.startswith("HTTP/1.1 200 ") and "data: [DONE]" in answer
        assert server.exit_code() == 0
        assert server.connection.recv() == "ended"


def test_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        held = ending(server, signal.SIGINT)
        wait_until_it_drains(server.url)
        os.kill(server.process.pid or 0, signal.SIGINT)
        assert server.exit_code() == 0
        held.leave()


def test_requests_that_outlast_the_drain_are_given_up(tmp_path: Path) -> None:
    with running(tmp_path, drain_s=0.2) as server:
        held = ending(server, signal.SIGTERM)
        assert server.exit_code() == 0
        held.leave()


def test_address_that_is_taken_is_refused_by_name() -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as error, bound_socket("127.0.0.1", port):
            pass
    (problem,) = error.value.problems
    assert (problem.field, problem.value) == ("serve.port", port)
    with pytest.raises(ConfigError) as error, bound_socket("no.such.host.invalid", 0):
        pass
    assert error.value.problems[0].field == "serve.host"
