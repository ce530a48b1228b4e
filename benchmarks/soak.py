"""Mixed load on the service, a random replica killed every minute: is an accepted request lost, does memory grow?

    python benchmarks/soak.py runs/toy17                       ten minutes, a SIGKILL a minute
    python benchmarks/soak.py runs/toy17 --minutes 2 --kill-every 30

Starts `detox-ray serve RUN` on a free port of this machine and keeps ``--clients`` clients busy, each drawing its next
request at random: completions (plain and streamed), a comparison (plain and streamed), a comment to analyse, the page.
Every ``--kill-every`` seconds one process of the service's engine and scoring replicas gets SIGKILL, in turn.

A request is **answered** (2xx, and a stream that ends as it should), **refused** (429, 503 with Retry-After: never
accepted), **failed cleanly** (another 5xx, or a stream that ends with an error event), or **lost** (no answer, or a
stream that breaks off). A failure counts against the service unless the request was in flight when a replica was killed
or before that replica was back. Exit code 1 where one was lost outside of a kill, or memory grew by more than
``--growth``: the mean of the last minute against that of the second, both without the minute after a kill's restart.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

PROMPTS = ["the king is", "my neighbour", "she said that", "el perro", "der alte Mann", "la maison"]
REPLICAS = ("engine", "scoring")
SAMPLE_S = 2.0


class Request(NamedTuple):
    """The outcome of one request."""

    kind: str
    outcome: str  # "answered", "refused", "failed", "lost"
    begun: float
    ended: float
    detail: str


class Kill(NamedTuple):
    """A replica killed."""

    replica: str
    at: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run's folder, such as runs/toy17")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--restart", type=float, default=45, help="seconds that a replica may take to come back")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--growth", type=float, default=0.10, help="share by which memory may grow")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    log = Path(tempfile.mkdtemp(prefix="detox-ray-soak-")) / "service.log"
    command = [sys.executable, "-m", "detox_ray", "serve", arguments.run, "port=0"]
    with log.open("wb") as output:
        service = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = _address(service, log)
        print(f"{url}, log {log}")
        return asyncio.run(_soak(url, service.pid, arguments))
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(120)


def _address(service: "subprocess.Popen[bytes]", log: Path) -> str:
    while service.poll() is None:
        if found := re.search(r"http://[\w.]+:\d+", log.read_text(errors="replace")):
            return found.group()
        time.sleep(0.5)
    raise SystemExit(log.read_text(errors="replace")[-3000:])


async def _soak(url: str, pid: int, arguments: argparse.Namespace) -> int:
    rng = random.Random(arguments.seed)
    end = time.monotonic() + arguments.minutes * 60
    requests: list[Request] = []
    memory: list[tuple[float, float]] = []
    kills: list[Kill] = []
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(150)) as client:
        models = [card["id"] for card in (await client.get("/v1/models")).json()["data"]]
        clients = [
            _client(client, models, random.Random(rng.random()), end, requests) for _ in range(arguments.clients)
        ]
        watching = asyncio.create_task(_watch(pid, end, memory))
        killing = asyncio.create_task(_kill(pid, end, arguments.kill_every, kills))
        await asyncio.gather(*clients, watching, killing)
    return _report(requests, kills, memory, arguments)


async def _client(
    client: httpx.AsyncClient, models: list[str], rng: random.Random, end: float, requests: list[Request]
) -> None:
    kinds = [_completion, _streamed_completion, _compare, _streamed_compare, _analyze, _page]
    while time.monotonic() < end:
        kind, begun = rng.choice(kinds), time.monotonic()
        try:
            outcome, detail = await kind(client, models, rng)
        except httpx.HTTPError as error:
            outcome, detail = "lost", repr(error)
        requests.append(Request(kind.__name__.strip("_"), outcome, begun, time.monotonic(), detail))
        if outcome == "refused":
            await asyncio.sleep(1)


async def _completion(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    return _outcome(await client.post("/v1/completions", json=_prompted(models, rng)))


async def _streamed_completion(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    body = {**_prompted(models, rng), "stream": True}
    return await _streamed(client, "/v1/completions", body, "data: [DONE]", '"error"')


async def _compare(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    return _outcome(await client.post("/v1/compare", json=_compared(models, rng)))


async def _streamed_compare(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    body = {**_compared(models, rng), "stream": True}
    return await _streamed(client, "/v1/compare", body, "event: done", "event: error")


async def _analyze(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    body = {"comment": {"text": rng.choice(PROMPTS)}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]}
    return _outcome(await client.post("/v1alpha1/comments:analyze", json=body))


async def _page(client: httpx.AsyncClient, models: list[str], rng: random.Random) -> tuple[str, str]:
    return _outcome(await client.get("/"))


def _prompted(models: list[str], rng: random.Random) -> dict[str, object]:
    return {"model": rng.choice(models), "prompt": rng.choice(PROMPTS), "max_tokens": 24, "seed": rng.randrange(10**6)}


def _compared(models: list[str], rng: random.Random) -> dict[str, object]:
    return {"prompt": rng.choice(PROMPTS), "models": models, "samples": 3, "max_tokens": 16, "seed": rng.randrange(99)}


def _outcome(response: httpx.Response) -> tuple[str, str]:
    if response.is_success:
        return "answered", ""
    if response.status_code in (429, 503) and "retry-after" in response.headers:
        return "refused", str(response.status_code)
    try:
        return "failed", f"{response.status_code} {json.dumps(response.json()['error'])[:160]}"
    except (ValueError, KeyError, TypeError):
        return "failed", f"{response.status_code} {response.text[:160]!r} (no error object)"


async def _streamed(
    client: httpx.AsyncClient, path: str, body: dict[str, object], last: str, failed: str
) -> tuple[str, str]:
    async with client.stream("POST", path, json=body) as response:
        if response.status_code != 200:
            await response.aread()
            return _outcome(response)
        lines = [line async for line in response.aiter_lines() if line]
    broken = next((line for line in lines if failed in line), None)
    if broken is not None:
        return "failed", " ".join(lines[-2:])[:160]
    if not any(line.startswith(last) for line in lines[-2:]):
        return "lost", f"the stream broke off after {len(lines)} lines"
    return "answered", ""


async def _kill(pid: int, end: float, every: float, kills: list[Kill]) -> None:
    turn = 0
    while time.monotonic() + every < end - every / 2:
        await asyncio.sleep(every)
        kind = REPLICAS[turn % len(REPLICAS)]
        turn += 1
        found = [p for p in psutil.Process(pid).children(recursive=True) if _replica(p, kind)]
        if found:
            victim = random.Random(turn).choice(found)
            name = victim.cmdline()[0].split(":")[-1]
            kills.append(Kill(name, time.monotonic()))
            victim.send_signal(signal.SIGKILL)
            print(f"killed {name} ({victim.pid})")


def _replica(process: psutil.Process, kind: str) -> bool:
    try:
        return bool(re.match(rf"ray::ServeReplica:.*:{kind}", process.cmdline()[0]))
    except (psutil.Error, IndexError):
        return False


async def _watch(pid: int, end: float, memory: list[tuple[float, float]]) -> None:
    """Bytes that the service's processes hold for themselves, every ``SAMPLE_S``."""
    while time.monotonic() < end:
        total = 0
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            try:
                total += process.memory_full_info().uss
            except psutil.Error:
                continue
        memory.append((time.monotonic(), total))
        await asyncio.sleep(SAMPLE_S)


def _report(
    requests: list[Request], kills: list[Kill], memory: list[tuple[float, float]], arguments: argparse.Namespace
) -> int:
    def near_a_kill(begun: float, ended: float) -> bool:
        return any(begun < kill.at + arguments.restart and ended > kill.at for kill in kills)

    print(f"\n{'request':22}{'answered':>10}{'refused':>9}{'failed':>8}{'lost':>6}{'median s':>10}{'p99 s':>8}")
    for kind in sorted({request.kind for request in requests}):
        mine = [request for request in requests if request.kind == kind]
        counts = Counter(request.outcome for request in mine)
        seconds = sorted(request.ended - request.begun for request in mine if request.outcome == "answered") or [0.0]
        shown = "".join(f"{counts[name]:{width}}" for name, width in (("answered", 10), ("refused", 9), ("failed", 8)))
        p99 = seconds[int(0.99 * (len(seconds) - 1))]
        print(f"{kind:22}{shown}{counts['lost']:6}{statistics.median(seconds):10.2f}{p99:8.2f}")
    bad = [r for r in requests if r.outcome in ("failed", "lost")]
    blamed = [r for r in bad if not near_a_kill(r.begun, r.ended)]
    dirty = [r for r in bad if r.outcome == "lost" or "no error object" in r.detail]
    for detail, count in Counter(r.detail for r in bad).most_common(8):
        print(f"  {count} x {detail}")
    print(f"{len(kills)} kills; {len(bad)} failed or lost near one, of these {len(dirty)} without a clean answer")
    print(f"{len(blamed)} failed or lost away from any kill")
    start = memory[0][0]
    minutes: dict[int, list[float]] = {}
    for at, used in memory:
        if not near_a_kill(at, at):
            minutes.setdefault(int((at - start) // 60), []).append(used)
    means = {minute: statistics.mean(values) / 2**30 for minute, values in sorted(minutes.items())}
    print("memory, GiB, mean of each minute: " + " ".join(f"{minute}:{mean:.2f}" for minute, mean in means.items()))
    settled = [mean for minute, mean in means.items() if minute >= 1] or list(means.values())
    growth = settled[-1] / settled[0] - 1
    print(f"growth from the second minute to the last: {growth:+.1%}")
    return 1 if blamed or growth > arguments.growth else 0


if __name__ == "__main__":
    sys.exit(main())
