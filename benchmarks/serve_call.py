"""Processor time of a call through a Ray Serve handle that does nothing: what the service's hop costs at least.

    python benchmarks/serve_call.py

The calls are as `detox-ray serve` makes them from its gateway to an engine: same environment of Ray Serve, a request
and an answer of a completion's size, and a stream of four batches. Beside them stands the same call of a plain Ray
actor, without Serve's router. Times are of the two processes together, per call.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from detox_ray.cluster import connect
from detox_ray.serve.manifests import LEAN

CALLS, CLIENTS, BATCHES = 600, (1, 8, 32), 4
AT_ONCE = 200
REQUEST = {"model": "base", "prompt": "a prompt of a few words", "seed": 1, "temperature": 0.9, "max_tokens": 32}
ANSWER = '{"choices": [{"index": 0, "text": "' + "word " * 32 + '"}], "usage": {"completion_tokens": 32}}'


class Echo:
    """Answers at once."""

    async def answer(self, kind: str, request: dict[str, Any], request_id: str) -> str:
        return ANSWER

    async def stream(self, kind: str, request: dict[str, Any], request_id: str) -> AsyncGenerator[list[str], None]:
        for _ in range(BATCHES):
            yield [ANSWER]
            await asyncio.sleep(0)

    async def processor_seconds(self) -> float:
        return time.process_time()


async def load(call: Callable[[], Awaitable[None]], clients: int) -> None:
    """Make `CALLS` calls by ``clients`` at once."""
    numbers = iter(range(CALLS))

    async def client() -> None:
        for _ in numbers:
            await call()

    await asyncio.gather(*(client() for _ in range(clients)))


async def measure(handle: Any, actor: Any) -> None:
    """Print the cost of each kind of call, by numbers of clients."""
    request = "completions", REQUEST, "id"

    async def whole() -> None:
        await handle.answer.remote(*request)

    async def stream() -> None:
        async for _ in handle.stream.options(stream=True).remote(*request):
            pass

    async def plain() -> None:
        await actor.answer.remote(*request)

    kinds = {
        "handle, whole answer": (whole, handle),
        f"handle, stream of {BATCHES}": (stream, handle),
        "plain actor": (plain, actor),
    }
    for name, (call, target) in kinds.items():
        await load(call, clients=8)  # warm
        for clients in CLIENTS:
            called, caller = await target.processor_seconds.remote(), time.process_time()
            await load(call, clients)
            caller, called = time.process_time() - caller, await target.processor_seconds.remote() - called
            total = 1000 * (caller + called) / CALLS
            print(
                f"{name:20} {clients:2} clients: {total:.1f} ms of processor a call, "
                f"{1000 * caller / CALLS:.1f} of them the caller's",
                flush=True,
            )


def main() -> None:
    for name, value in LEAN.items():  # before ray.serve is imported
        os.environ.setdefault(name, value)
    os.environ.pop("RAY_ADDRESS", None)
    with connect(num_cpus=2):
        import ray
        from ray import serve

        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(max_ongoing_requests=AT_ONCE, logging_config={"enable_access_log": False})(Echo)
        handle = serve.run(deployment.bind(), name="echo", route_prefix=None)
        actor = ray.remote(Echo).options(max_concurrency=AT_ONCE, num_cpus=0).remote()
        asyncio.run(measure(handle, actor))
        serve.delete("echo")


if __name__ == "__main__":
    main()
