"""Completions per second of `detox-ray serve` against vLLM's own OpenAI server: same model, arguments and requests.

    python benchmarks/serving.py                           1, 8 and 32 clients; whole answers, then streams
    python benchmarks/serving.py --clients 8 --rounds 12   more rounds where the machine is not quiet

Both servers are up. A round loads one for a few seconds and then the other, in turn first; the one that is not loaded
is stopped meanwhile (SIGSTOP), so that it takes nothing from the other. The ratio is the median over rounds of the two
rates of one round, with the smallest and the largest: what the machine does beside over minutes cancels. A client sends
its next request once the last is answered, over a connection that it keeps. Request i has prompt i and seed i: both
sides draw the same tokens, 32 of each, for the model has no end token. Its weights are random and it has toy17's shape:
time depends on shapes. Processor time is that of all of a side's processes, in sum and for those that take the most.
Percentiles are of all requests.
"""

import argparse
import asyncio
import functools
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

NAME = "base"
TOKENS = 32
SAMPLING = {"temperature": 0.9, "top_p": 0.8, "max_tokens": TOKENS}
START_S = 300
SECONDS = 3.0  # of a load, about


WORDS = 2000
PROMPTS = 400
SHOWN = 6  # processes


class Load(NamedTuple):
    """The measurements of one server with one number of clients."""

    seconds: float
    cpu_seconds: Counter[str]  # by process
    latencies: list[float]  # s
    first: list[float]  # s until the first token; of streams
    tokens: int  # completed; of whole answers


def build(folder: Path) -> list[str]:
    """A random model of toy17's shape; returns its words, each of which is one token."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = [first + second for first in syllables for second in syllables][:WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["?", *words])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=WORDS + 1,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=352,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return words


def engine_arguments(model: str) -> dict[str, Any]:
    """Return vLLM's arguments as in detox_ray/serve/workers/engine.py, and set the environment they need."""
    from detox_ray.config import EngineConfig
    from detox_ray.models import vllm_options
    from detox_ray.models.codec import Codec

    config, loading = EngineConfig(), {"revision": None, "trust_remote_code": False}
    codec = Codec(model, loading)
    made = vllm_options.arguments(
        model,
        loading,
        codec.saved_dtype,
        codec.context,
        tensor_parallel=config.tensor_parallel,
        gpu_memory_utilization=config.gpu_memory_utilization,
        cpu_kv_cache_gb=config.cpu_kv_cache_gb,
    )
    return made | {"disable_log_stats": True}


def flags(arguments: dict[str, Any]) -> list[str]:
    """The same on vLLM's command line."""
    found = []
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            found += [f"--{option}" if value else f"--no-{option}"]
        elif value is not None:
            found += [f"--{option}", str(value)]
    return found


def commands(model: str, port: int) -> dict[str, list[str]]:
    ours = ["detox_ray", "serve", "--model", f"{NAME}={model}", "--port", str(port)]
    server = ["vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    server += ["--served-model-name", NAME, "--disable-uvicorn-access-log", *flags(engine_arguments(model))]
    return {"vllm": [sys.executable, "-m", *server], "ours": [sys.executable, "-m", *ours]}


@contextmanager
def running(command: Sequence[str], url: str, log: Path) -> Iterator[int]:
    """The server, once it has answered; gives the id of its session."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        asyncio.run(_answered(url, process, log))
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def _answered(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    body = {"model": NAME, "prompt": "the", "max_tokens": 1}
    async with httpx.AsyncClient(timeout=60) as client:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                answer = await client.post(f"{url}/v1/completions", json=body)
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.5)
    raise SystemExit(f"no answer from {url}:\n{log.read_text(errors='replace')[-3000:]}")


async def load(
    url: str, clients: int, count: int, prompts: Sequence[str], stream: bool, cpu: Callable[[], Counter[str]]
) -> Load:
    """``count`` requests by ``clients`` at once. Raises for any answer but 200."""
    import httpx

    numbers = iter(range(count))
    latencies: list[float] = []
    first: list[float] = []
    tokens = 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal tokens
        for number in numbers:
            body = {"model": NAME, "prompt": prompts[number % len(prompts)], "seed": number, **SAMPLING}
            begun = time.perf_counter()
            if stream:
                first.append(await _stream(client, url, body) - begun)
            else:
                answer = (await client.post(f"{url}/v1/completions", json=body)).raise_for_status()
                tokens += answer.json()["usage"]["completion_tokens"]
            latencies.append(time.perf_counter() - begun)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        before, begun = cpu(), time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(clients)))
        return Load(time.perf_counter() - begun, cpu() - before, latencies, first, tokens)


async def _stream(client: Any, url: str, body: dict[str, Any]) -> float:
    """When the first token came."""
    at = None
    async with client.stream("POST", f"{url}/v1/completions", json={**body, "stream": True}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if at is None and line.startswith("data: {"):
                assert "choices" in json.loads(line[6:]), line
                at = time.perf_counter()
    assert at is not None
    return at


def cpu_seconds(leader: int, known: dict[int, tuple[str, float]]) -> Counter[str]:
    """Return the CPU time of all processes below ``leader`` by name, including those that ended since the last call."""
    import psutil

    family = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    for process in family:
        try:
            times, words = process.cpu_times(), process.cmdline()
        except psutil.NoSuchProcess:
            continue
        name = "main process" if process.pid == leader else Path(words[0]).name[:24] if words else "?"
        known[process.pid] = name, times.user + times.system
    seconds: Counter[str] = Counter()
    for name, spent in known.values():
        seconds[name] += spent  # type: ignore[assignment]
    return seconds


def together(loads: Sequence[Load]) -> Load:
    return Load(
        sum(load.seconds for load in loads),
        sum((load.cpu_seconds for load in loads), Counter()),
        [value for load in loads for value in load.latencies],
        [value for load in loads for value in load.first],
        sum(load.tokens for load in loads),
    )


def show(name: str, load: Load) -> str:
    requests = len(load.latencies)
    said = f"  {name:<5} {requests / load.seconds:7.1f} requests/s"
    said += f"  {1000 * sum(load.cpu_seconds.values()) / requests:6.1f} ms of processor each"
    said += f"  latency {percentiles(load.latencies)}"
    if load.first:
        said += f"  first token {percentiles(load.first)}"
    if load.tokens:
        said += f"  {load.tokens / load.seconds:6.0f} tokens/s"
    most = [(who, 1000 * spent / requests) for who, spent in load.cpu_seconds.most_common(SHOWN)]
    return said + "\n        of which " + ", ".join(f"{who} {each:.1f}" for who, each in most)


def percentiles(values: Sequence[float]) -> str:
    """p50/p90/p99 in ms."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return "/".join(f"{1000 * cuts[at - 1]:.0f}" for at in (50, 90, 99)) + " ms"


def make_prompts(words: Sequence[str]) -> list[str]:
    """Return prompts of 4 to 12 words."""
    rng = random.Random(0)
    return [" ".join(rng.choices(words, k=rng.randint(4, 12))) for _ in range(PROMPTS)]


@contextmanager
def stopped(leader: int) -> Iterator[None]:
    """Suspend the processes of one server during the block."""
    import psutil

    family = [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


def measure(
    sides: dict[str, tuple[str, int]], clients: int, stream: bool, rounds: int, prompts: Sequence[str]
) -> dict[str, list[Load]]:
    """Loads of each side, one a round. ``sides``: address and process."""
    found: dict[str, list[Load]] = defaultdict(list)
    known: dict[str, dict[int, tuple[str, float]]] = defaultdict(dict)
    order, count = list(sides), 0  # requests that take about SECONDS
    for _ in range(rounds):
        for side in order:
            url, leader = sides[side]
            (other,) = (each for name, (_, each) in sides.items() if name != side)
            with stopped(other):
                cpu = functools.partial(cpu_seconds, leader, known[side])
                awake = asyncio.run(load(url, clients, max(20, 4 * clients), prompts, stream, cpu))
                count = count or max(10, round(SECONDS * len(awake.latencies) / awake.seconds))
                found[side].append(asyncio.run(load(url, clients, count, prompts, stream, cpu)))
        order.reverse()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--port", type=int, default=8998, help="of one; the other has the next")
    args = parser.parse_args()

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # Ray sets it for a replica of one CPU; so vLLM's server has it, too
    os.environ.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        prompts = make_prompts(build(Path(folder) / "model"))
        sides: dict[str, tuple[str, int]] = {}
        for port, side in enumerate(("vllm", "ours"), args.port):
            url, command = f"http://127.0.0.1:{port}", commands(f"{folder}/model", port)[side]
            leader = stack.enter_context(running(command, url, Path(folder) / f"{side}.log"))
            sides[side] = url, leader
            asyncio.run(load(url, 8, 100, prompts, False, Counter))  # warm
        print(f"{platform.machine()}, {os.cpu_count()} cores, {args.rounds} rounds", flush=True)
        for stream in (False, True):
            for clients in args.clients:
                found = measure(sides, clients, stream, args.rounds, prompts)
                print(f"{'streams' if stream else 'whole answers'}, {clients} clients")
                for side, loads in found.items():
                    print(show(side, together(loads)))
                rates = [[len(each.latencies) / each.seconds for each in found[side]] for side in ("ours", "vllm")]
                ratios = sorted(ours / theirs for ours, theirs in zip(*rates, strict=True))
                said = f"{statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}"
                print(f"  ours / vllm: {said}", flush=True)


if __name__ == "__main__":
    main()
