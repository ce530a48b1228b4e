"""`detox-ray serve`: deploy the application, say where it is, serve until stopped, drain, stop."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from detox_ray.cluster import connect
from detox_ray.serve.manifests import APPLICATION
from detox_ray.serve.served import ServeArgs, Served, resolve


class Running(NamedTuple):
    """The service, once it answers."""

    url: str
    served: Served
    seconds: float  # from the start


def run(args: ServeArgs, ready: Callable[[Running], None], verbose: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; then let the requests in flight end, ``limits.drain_s`` at most.

    Raises ConfigError or InputError for wrong input, before Ray is started.
    """
    begun = time.monotonic()
    served = resolve(args)
    stopped = threading.Event()
    with connect(num_cpus=_cpus(served), verbose=verbose) as cluster:
        from ray import serve

        from detox_ray.serve import app

        config = served.config
        port = config.port or _free_port(config.host)
        http = serve.HTTPOptions(
            host=config.host, port=port, request_timeout_s=config.limits.timeout_s + config.limits.drain_s
        )
        serve.start(http_options=http)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            serve.run(app.application(served, gpus=cluster.gpus > 0), name=APPLICATION, route_prefix="/")
            for number in before:
                signal.signal(number, _setter(stopped))
            ready(Running(f"http://{config.host}:{port}", served, time.monotonic() - begun))
            while not stopped.wait(1):
                pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            serve.delete(APPLICATION)
            serve.shutdown()


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda number, frame: event.set()


def _cpus(served: Served) -> int:
    """Of a Ray that is started here: enough for every replica, for on a laptop they share the cores."""
    wanted = sum(spec.config.cpus * (spec.config.max_replicas or spec.config.replicas) for spec in served.engines)
    scoring = served.config.scoring
    wanted += scoring.cpus * (scoring.max_replicas or scoring.replicas)
    return max(os.cpu_count() or 1, int(wanted) + 1)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
