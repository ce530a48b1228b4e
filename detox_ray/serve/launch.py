"""`detox-ray serve`: deploy engines and scoring, answer HTTP in this process, then drain and stop.

The gateway is the same as behind Ray Serve's proxies on a cluster (app.application). Here it listens itself, so that a
request takes one hop between processes instead of three. A service of scorers alone takes none and starts no Ray
(local_scoring.py).
"""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from detox_ray.cluster import connect
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.ray_internals import NOT_PLACED
from detox_ray.cluster.waiting import WaitedTooLong, Waiting
from detox_ray.config import ReplicasConfig
from detox_ray.models.device import machine_has_gpu
from detox_ray.serve.http.keys import required_keys
from detox_ray.serve.manifests import APPLICATION, LEAN
from detox_ray.serve.spec import EngineSpec, ServeArgs, ServeSpec, resolve

if TYPE_CHECKING:
    from detox_ray.serve.http.gateway import Gateway
    from detox_ray.serve.http.server import Server


class StartedService(NamedTuple):
    """A service that has started to answer."""

    url: str
    spec: ServeSpec
    seconds: float  # from the command's start to the first answer


def launch(
    args: ServeArgs, on_ready: Callable[[StartedService], None], progress: Progress, verbose: bool = False
) -> None:
    """Serve until SIGINT or SIGTERM. Then let the requests in flight finish, for up to ``limits.drain_s``.

    Args:
        args: What to serve.
        on_ready: Called once the service answers.
        progress: Shows the start of the deployments.
        verbose: Whether to show Ray Serve's log.

    Raises:
        ConfigError, InputError: If the input is wrong or the address is in use. Ray has not been started then.
    """
    started = time.monotonic()
    spec = resolve(args)
    config, hashed_keys = spec.config, required_keys(spec.config)
    for name, value in LEAN.items():  # before ray.serve is imported
        os.environ.setdefault(name, value)
    from detox_ray.serve.http.gateway import Gateway
    from detox_ray.serve.http.server import bound_socket
    from detox_ray.serve.local_scoring import is_local, local_scoring

    if is_local(spec):
        with bound_socket(config.host, config.port) as listener:
            gateway = Gateway(spec, {}, cast(Any, local_scoring(spec)), hashed_keys)
            _answer(gateway, listener, {}, on_ready, started)
        return
    from detox_ray.serve import app

    groups = app.engine_groups(spec, one_process=not (os.environ.get("RAY_ADDRESS") or machine_has_gpu()))
    cpus = _cpus(groups.values(), config.scoring)
    with bound_socket(config.host, config.port) as listener, connect(cpus, verbose, spec.cluster) as cluster:
        from ray import serve

        if not verbose:
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled")
        backends = app.backends(spec, groups, gpus=cluster.gpus > 0)
        port = listener.getsockname()[1]
        # The names are unique even if others use the cluster. A restarted service replaces what a killed one left.
        names = {backend: f"{APPLICATION}-{socket.gethostname()}-{port}-{backend}" for backend in backends}
        try:
            with _show_progress(progress, names, cluster.wait_s):
                targets = [serve.RunTarget(backends[part], name, route_prefix=None) for part, name in names.items()]
                handles = dict(zip(backends, serve.run_many(targets), strict=True))
            engines = {
                model: handles[name] for name, group in groups.items() for engine in group for model in engine.names
            }
            gateway = Gateway(spec, engines, handles[app.SCORING], hashed_keys)
            _answer(gateway, listener, names, on_ready, started)
        finally:
            _delete(names)


def _answer(
    gateway: "Gateway",
    listener: socket.socket,
    names: dict[str, str],
    on_ready: Callable[[StartedService], None],
    started: float,
) -> None:
    """Answer HTTP at ``listener`` until the service is stopped; then delete the applications in ``names``."""
    from detox_ray.serve.fastapi_app import fastapi_app
    from detox_ray.serve.http.server import Server

    host, port = gateway.spec.config.host, listener.getsockname()[1]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def report_ready() -> None:
        on_ready(StartedService(url, gateway.spec, time.monotonic() - started))

    server = Server(gateway, fastapi_app(gateway), report_ready)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve_until_stopped(server, listener, names))


async def _serve_until_stopped(server: "Server", listener: socket.socket, names: dict[str, str]) -> None:
    try:
        await server.serve([listener])
    finally:  # before this loop ends, because its handles are notified of the deletion
        await asyncio.to_thread(_delete, names)


def _delete(names: dict[str, str]) -> None:
    """Delete the applications in ``names`` (backend -> application) and remove them from it.

    ``serve.shutdown`` is not used: it ends the controller during a call, and Ray then logs endless retries. A Ray that
    was started here ends with the command, and a cluster may have other people's applications.
    """
    from ray import serve

    while names:
        serve.delete(names.popitem()[1])


@contextmanager
def _show_progress(progress: Progress, names: Mapping[str, str], wait_s: float) -> Iterator[None]:
    """While the block runs, show which of the applications in ``names`` (backend -> application) have started.

    Raises:
        WaitedTooLong: If the cluster has no room for them for ``wait_s`` seconds. The block is then interrupted.
    """
    from ray import serve

    finished, waiting = threading.Event(), Waiting("start", progress, wait_s)
    too_long: list[WaitedTooLong] = []

    def poll() -> None:
        up: set[str] = set()
        with progress.task("start", len(names), "deployments") as task:
            while len(up) < len(names) and not finished.wait(1):
                applications = serve.status().applications
                for backend, name in names.items():
                    if backend not in up and name in applications and applications[name].status == "RUNNING":
                        up.add(backend)
                        task.advance(note=backend)
                unplaced = [backend for backend in names if _finds_no_room(applications.get(names[backend]))]
                if not unplaced:
                    waiting.end()
                    continue
                try:
                    waiting.go_on(f"room for {', '.join(unplaced)}")
                except WaitedTooLong as error:
                    too_long.append(error)
                    os.kill(os.getpid(), signal.SIGINT)  # interrupts the main thread even if it sleeps
                    return

    thread = threading.Thread(target=poll, name="start-up", daemon=True)
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.SIG_IGN:  # as in a background process of a script: it could not be interrupted
        signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if too_long:
            raise too_long[0] from None
        raise
    finally:
        finished.set()
        thread.join()
        if handler is signal.SIG_IGN:
            signal.signal(signal.SIGINT, handler)


def _finds_no_room(application: Any) -> bool:
    """Return whether replicas of an application wait for a node with room. None means that it is not deployed yet."""
    deployments = application.deployments.values() if application is not None else ()
    return any(NOT_PLACED in deployment.message for deployment in deployments)


def _cpus(groups: Iterable[Sequence[EngineSpec]], scoring: ReplicasConfig) -> int:
    """Return the CPUs of a Ray that is started here: enough for every replica, because they share a laptop's cores."""
    deployments = [scoring, *(group[0].config for group in groups)]
    cpus = sum(config.cpus * (config.max_replicas or config.replicas) for config in deployments)
    return max(os.cpu_count() or 1, int(cpus) + 1)
