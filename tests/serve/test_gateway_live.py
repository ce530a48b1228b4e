"""The gateway behind Ray Serve's proxy: ids, sizes, metrics, keys, limits, time, and the end."""

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service import Service, serving

from detox_ray.serve import keys

pytestmark = pytest.mark.integration

ALICE, BOB = keys.make("alice"), keys.make("bob")
ASK = {"model": "base", "prompt": "the king", "max_tokens": 4}
TIMEOUT_S = 10.0


class Held:
    """A request whose body has not come whole: it is in flight for as long as the test wants."""

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


def metric(url: str, name: str, **labels: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {ALICE[0]}"}, timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def ray_logs(driver: int) -> list[str]:
    """Of the Ray that the process started."""
    commands = " ".join(" ".join(child.cmdline()) for child in psutil.Process(driver).children(recursive=True))
    (session,) = set(re.findall(r"/\S*?/session_[0-9][\w-]+", commands))
    return [log.read_text(errors="replace") for log in Path(session, "logs").rglob("*.*") if log.is_file()]


def wait_until_in_flight(url: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while metric(url, "detox_ray_in_flight") != count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_answer_has_one_request_id(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/completions", json=ASK, headers={"x-request-id": "mine-1"}, timeout=60)
    assert answer.headers.get_list("x-request-id") == ["mine-1"]
    made = httpx.get(f"{service.url}/healthz").headers.get_list("x-request-id")
    assert len(made) == 1 and len(made[0]) >= 16


def test_service_is_ready_and_counts_tokens(service: Service) -> None:
    assert httpx.get(f"{service.url}/readyz", timeout=30).json() == {"status": "ready", "waiting_for": []}
    before = metric(service.url, "detox_ray_tokens_total", model="lora", of="completion")
    for stream in (False, True):
        body = {**ASK, "model": "lora", "n": 2, "stream": stream}
        answer = httpx.post(f"{service.url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
    after = metric(service.url, "detox_ray_tokens_total", model="lora", of="completion")
    assert 4 <= after - before <= 16
    assert metric(service.url, "detox_ray_first_token_seconds_count", route="/v1/completions") >= 1


def test_ten_megabytes_are_refused(service: Service) -> None:
    answer = httpx.post(f"{service.url}/v1/completions", json={**ASK, "prompt": "x" * 10_000_000}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_other_names_for_loopback_are_refused(service: Service) -> None:
    assert httpx.get(f"{service.url}/healthz", headers={"host": "evil.example"}).status_code == 403


@pytest.fixture(scope="module")
def guarded(run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys.txt").write_text(f"{ALICE[1]}\n{BOB[1]}\n")
    limits = ["limits.in_flight=2", "limits.in_flight_total=3", f"limits.timeout_s={TIMEOUT_S}"]
    with serving(
        run, folder / "log", "models=[base]", "scorers=[]", f"api_keys={folder / 'keys.txt'}", *limits
    ) as made:
        yield made


def test_key_opens_the_service_and_stays_out_of_the_logs(guarded: Service) -> None:
    assert httpx.get(f"{guarded.url}/readyz", timeout=30).status_code == 200
    assert httpx.get(f"{guarded.url}/v1/models").status_code == 401
    with pytest.raises(openai.AuthenticationError, match="key is wrong"):
        openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong").models.list()
    ours = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=ALICE[0])
    assert [model.id for model in ours.models.list()] == ["base"]
    httpx.post(f"{guarded.url}/v1alpha1/comments:analyze?key={BOB[0]}", json={}, timeout=60)
    texts = [guarded.log.read_text(errors="replace"), *ray_logs(guarded.process.pid)]
    assert any('"path": "/v1/models"' in text for text in texts)  # it is the right place
    assert not any(key in text for text in texts for key in (ALICE[0], BOB[0]))


def test_client_that_leaves_is_not_in_flight(guarded: Service) -> None:
    begun = time.monotonic()
    held = Held(guarded.url, ALICE[0])
    wait_until_in_flight(guarded.url, 1)
    held.leave()
    wait_until_in_flight(guarded.url, 0)
    assert time.monotonic() - begun < TIMEOUT_S


def test_full_service_says_when_to_come_again_and_gives_up_what_never_ends(guarded: Service) -> None:
    begun = time.monotonic()
    held = [Held(guarded.url, ALICE[0]) for _ in range(2)]
    wait_until_in_flight(guarded.url, 2)
    ask = {"url": f"{guarded.url}/v1/completions", "json": ASK, "timeout": 60}
    refused = httpx.post(headers={"authorization": f"Bearer {ALICE[0]}"}, **ask)  # type: ignore[arg-type]
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    other = httpx.post(headers={"authorization": f"Bearer {BOB[0]}"}, **ask)  # type: ignore[arg-type]
    assert other.status_code == 200
    for each in held:
        assert each.answer().startswith("HTTP/1.1 504 ")
    assert time.monotonic() - begun >= TIMEOUT_S
    wait_until_in_flight(guarded.url, 0)


def test_sigterm_lets_requests_end_and_takes_no_more(guarded: Service) -> None:
    held = Held(guarded.url, ALICE[0])
    wait_until_in_flight(guarded.url, 1)
    guarded.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + TIMEOUT_S
    while httpx.get(f"{guarded.url}/readyz", timeout=30).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    late = httpx.post(
        f"{guarded.url}/v1/completions", json=ASK, headers={"authorization": f"Bearer {BOB[0]}"}, timeout=30
    )
    assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
    answer = held.finish()
    assert answer.startswith("HTTP/1.1 200 ") and "data: [DONE]" in answer
    assert guarded.process.wait(60) == 0
