"""An engine after its client disconnects, after it dies, and after the replica that started it dies."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
from service import Service

pytestmark = pytest.mark.integration

LONG = {"prompt": ["the king"] * 4, "n": 8, "max_tokens": 480, "temperature": 2.0, "seed": 0}


def eventually(holds: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.1)


def queue(service: Service, engine: str) -> float:
    """Return the number of samples that the engine works on, from /metrics."""
    lines = httpx.get(f"{service.url}/metrics", timeout=30).text.splitlines()
    (value,) = (line.split()[-1] for line in lines if line.startswith(f'detox_ray_engine_queue{{engine="{engine}"}}'))
    return float(value)


def answers(service: Service, model: str) -> bool:
    body = {"model": model, "prompt": "the king", "max_tokens": 2}
    try:
        return httpx.post(f"{service.url}/v1/completions", json=body, timeout=5).status_code == 200
    except httpx.TimeoutException:  # it waits for a replica
        return False


def replica(service: Service) -> psutil.Process:
    """Return the process that holds both engines of the run."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    (found,) = (process for process in family if "-engines:" in " ".join(process.cmdline()))
    return found


def engines_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the EngineCore processes of a replica."""
    return [child for child in process.children(recursive=True) if "EngineCore" in " ".join(child.cmdline())]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_client_that_goes_away_frees_its_slots_in_the_engine(service: Service, stream: bool) -> None:
    body: dict[str, Any] = {"model": "base", "stream": stream, **LONG}
    with httpx.Client(timeout=30) as client:
        if stream:
            with client.stream("POST", f"{service.url}/v1/completions", json=body) as answer:
                assert answer.status_code == 200
                lines = answer.iter_lines()
                next(lines)
                eventually(lambda: queue(service, "base") > 0, within=5)
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{service.url}/v1/completions", json=body, timeout=0.5)
    eventually(lambda: queue(service, "base") == 0, within=5)


@pytest.mark.slow
def test_replica_whose_engine_dies_answers_cleanly_and_is_replaced(service: Service) -> None:
    first = replica(service)
    body = {"model": "full", "stream": True, **LONG}
    with httpx.stream("POST", f"{service.url}/v1/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        for engine in engines_of(first):
            engine.kill()
        said = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "error" in said[-1], "the stream says that it broke off"
    eventually(lambda: not first.is_running(), within=20)
    eventually(lambda: answers(service, "full"), within=180)
    assert answers(service, "base")


@pytest.mark.slow
def test_engines_end_with_the_replica_that_started_them(service: Service) -> None:
    first = replica(service)
    family = first.children(recursive=True)  # the process from which the engines were forked, too
    assert len(engines_of(first)) == 2
    first.kill()
    eventually(lambda: not any(is_alive(process) for process in family), within=10)
    eventually(lambda: answers(service, "full"), within=180)
