"""`detox-ray serve`: deploy the application, say where it is, serve until stopped, drain, stop."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from detox_ray.cluster import connect
from detox_ray.progress import Progress
from detox_ray.serve import keys
from detox_ray.serve.manifests import APPLICATION, LEAN
from detox_ray.serve.served import ServeArgs, Served, resolve


class Running(NamedTuple):
    """The service, once it answers."""

    url: str
    served: Served
    seconds: float  # from the start


def run(args: ServeArgs, ready: Callable[[Running], None], progress: Progress, verbose: bool = False) -> None:
    """Serve until SIGINT or SIGTERM; then let the requests in flight end, ``limits.drain_s`` at most.

    Raises ConfigError or InputError for wrong input, before Ray is started.
    """
    begun = time.monotonic()
    served = resolve(args)
    keys.of(served.config)  # wrong ones are told of before anything is started
    stopped = threading.Event()
    from ray import serve  # before LEAN is set: this process has no event loop that its own handles could use

    for name, value in LEAN.items():
        os.environ.setdefault(name, value)
    with connect(num_cpus=_cpus(served), verbose=verbose) as cluster:
        from detox_ray.serve import app

        if not verbose:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        config = served.config
        port = config.port or _free_port(config.host)
        http = serve.HTTPOptions(
            host=config.host, port=port, request_timeout_s=config.limits.timeout_s + config.limits.drain_s
        )
        serve.start(http_options=http)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with _reported(progress, served):
                serve.run(app.application(served, gpus=cluster.gpus > 0), name=APPLICATION, route_prefix="/")
            for number in before:
                signal.signal(number, _setter(stopped))
            ready(Running(f"http://{config.host}:{port}", served, time.monotonic() - begun))
            while not stopped.wait(1):
                pass
            _restore(before)  # a second signal ends the draining
            _drain(config.limits.drain_s)
        finally:
            _restore(before)
            serve.delete(APPLICATION)
            if cluster.address == "local":  # on a joined cluster there may be others' applications
                serve.shutdown()


@contextmanager
def _reported(progress: Progress, served: Served) -> Iterator[None]:
    """While the block runs, say which deployments are up: engines, scoring, gateway."""
    from ray import serve

    over = threading.Event()
    total = len(served.engines) + 2

    def watch() -> None:
        up: set[str] = set()
        with progress.task("start", total, "deployments") as task:
            while len(up) < total and not over.wait(1):
                found = serve.status().applications.get(APPLICATION)
                for name, deployment in found.deployments.items() if found else ():
                    if deployment.status == "HEALTHY" and name not in up:
                        up.add(name)
                        task.advance(note=name)

    thread = threading.Thread(target=watch, name="start-up", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _drain(seconds: float) -> None:
    """Every gateway says that it is not ready, takes no more requests, and ends those that it has."""
    from ray import serve

    left = serve.get_app_handle(APPLICATION).broadcast("drain").results(timeout_s=seconds + 10)
    if sum(left):
        print(f"{sum(left)} requests did not end within {seconds:g} s", file=sys.stderr)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


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
