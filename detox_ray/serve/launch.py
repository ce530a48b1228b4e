"""`detox-ray serve`: deploy engines and scoring, answer HTTP in this process, drain and stop at the end.

The gateway is the one that a cluster runs behind Ray Serve's proxies (app.application). Here it listens itself: a
request takes one hop between processes, not three.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from detox_ray.cluster import connect
from detox_ray.cluster.progress import Progress
from detox_ray.serve.http import keys
from detox_ray.serve.manifests import APPLICATION, LEAN
from detox_ray.serve.spec import ServeArgs, Served, resolve

if TYPE_CHECKING:
    from detox_ray.serve.http.server import Server


class Running(NamedTuple):
    """The service, once it answers."""

    url: str
    served: Served
    seconds: float  # from the start


def run(args: ServeArgs, ready: Callable[[Running], None], progress: Progress, verbose: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; then let the requests in flight end, ``limits.drain_s`` at most.

    Raises ConfigError or InputError for wrong input or an address that is taken, before Ray is started.
    """
    begun = time.monotonic()
    served = resolve(args)
    config, entries = served.config, keys.of(served.config)
    for name, value in LEAN.items():  # before ray.serve is imported
        os.environ.setdefault(name, value)
    from detox_ray.serve import app
    from detox_ray.serve.http.gateway import Gateway
    from detox_ray.serve.http.server import Server, bound

    with bound(config.host, config.port) as listener, connect(num_cpus=_cpus(served), verbose=verbose) as cluster:
        from ray import serve

        if not verbose:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled")
        parts = app.parts(served, gpus=cluster.gpus > 0)
        port = listener.getsockname()[1]
        # Of its own on a cluster where others serve, too; those that a killed one left there are replaced by the next.
        names = {part: f"{APPLICATION}-{socket.gethostname()}-{port}-{part}" for part in parts}
        try:
            with _reported(progress, names):
                targets = [serve.RunTarget(parts[part], name, route_prefix=None) for part, name in names.items()]
                handles = dict(zip(parts, serve.run_many(targets), strict=True))
            engines = {name: handles[app.engine_name(spec)] for spec in served.engines for name in spec.names}
            gateway = Gateway(served, engines, handles[app.SCORING], entries)
            url = f"http://[{config.host}]:{port}" if ":" in config.host else f"http://{config.host}:{port}"
            server = Server(gateway, lambda: ready(Running(url, served, time.monotonic() - begun)))
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(_until_stopped(server, listener, names))
        finally:
            _delete(names)


async def _until_stopped(server: "Server", listener: socket.socket, names: dict[str, str]) -> None:
    try:
        await server.serve([listener])
    finally:  # while this loop runs, for the handles live in it and hear of the deletion
        await asyncio.to_thread(_delete, names)


def _delete(names: dict[str, str]) -> None:
    """Delete the applications (part -> name) and forget them.

    serve.shutdown would end the controller in the middle of a call that Ray then says it will retry without end. A Ray
    of our own ends with the command; on another there may be others' applications.
    """
    from ray import serve

    while names:
        serve.delete(names.popitem()[1])


@contextmanager
def _reported(progress: Progress, names: Mapping[str, str]) -> Iterator[None]:
    """While the block runs, say which parts are up. ``names``: of their applications."""
    from ray import serve

    over = threading.Event()

    def watch() -> None:
        up: set[str] = set()
        with progress.task("start", len(names), "deployments") as task:
            while len(up) < len(names) and not over.wait(1):
                found = serve.status().applications
                for part, name in names.items():
                    if part not in up and name in found and found[name].status == "RUNNING":
                        up.add(part)
                        task.advance(note=part)

    thread = threading.Thread(target=watch, name="start-up", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _cpus(served: Served) -> int:
    """Of a Ray that is started here: enough for every replica, for on a laptop they share the cores."""
    wanted = sum(spec.config.cpus * (spec.config.max_replicas or spec.config.replicas) for spec in served.engines)
    scoring = served.config.scoring
    wanted += scoring.cpus * (scoring.max_replicas or scoring.replicas)
    return max(os.cpu_count() or 1, int(wanted) + 1)
