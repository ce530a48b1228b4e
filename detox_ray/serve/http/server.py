"""The HTTP server of `detox-ray serve`: uvicorn in this process. It stops after answering the requests in flight."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from detox_ray.config import ConfigError, Problem
from detox_ray.serve.http.gateway import Gateway

CLOSE_S = 5  # time to close connections whose requests were answered or abandoned
KEEP_ALIVE_S = 75  # longer than clients keep connections, so that no client uses one that was just closed


class Server(uvicorn.Server):
    """A server for ``app``, the web application of a gateway. It calls ``on_ready`` once it listens."""

    def __init__(self, gateway: Gateway, app: ASGIApp, on_ready: Callable[[], None]):
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,  # the request log replaces it
                log_config=None,
                lifespan="off",
                proxy_headers=False,  # headers of proxies are not trusted
                server_header=False,
                timeout_graceful_shutdown=CLOSE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
                ws="none",
            )
        )
        self._gateway, self._on_ready = gateway, on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGTERM: the first drains the server, the second stops it at once."""
        if self._loop is None:  # the server does not listen yet
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        """Report that the service is not ready, refuse new requests, finish those in flight, and stop."""
        if left := await self._gateway.drain():
            seconds = self._gateway.spec.config.limits.drain_s
            print(f"{left} requests did not finish within {seconds:g} s", file=sys.stderr)
        self.should_exit = True


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a socket to an address, without listening. Port 0 chooses a free port.

    Raises:
        ConfigError: If the host cannot be resolved, or the address is in use.
    """
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError([Problem("serve.host", host, f"cannot be resolved: {error}")]) from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise ConfigError([Problem("serve.port", port, f"cannot be bound at {host}: {error.strerror}")]) from error
        yield listener
