"""The HTTP server of `detox-ray serve`: uvicorn in this process, which ends once the requests in flight have."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from detox_ray.config import ConfigError, Problem
from detox_ray.serve.http.gateway import Gateway

CLOSE_S = 5  # for connections whose requests have ended, or were given up
KEEP_ALIVE_S = 75  # longer than clients keep theirs: one that reuses it must not find it just closed


class Server(uvicorn.Server):
    """Serves a gateway; ``ready`` is called once it listens."""

    def __init__(self, gateway: Gateway, ready: Callable[[], None]):
        super().__init__(
            uvicorn.Config(
                gateway.asgi(),
                access_log=False,  # the gateway writes its own
                log_config=None,
                lifespan="off",
                proxy_headers=False,  # nobody in front is trusted
                server_header=False,
                timeout_graceful_shutdown=CLOSE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
                ws="none",
            )
        )
        self._gateway, self._ready = gateway, ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Of SIGINT and SIGTERM: the first drains, the second ends it at once."""
        if self._loop is None:  # it does not listen yet
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._asked_to_end)

    def _asked_to_end(self) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        else:
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        """Say that it is not ready, take no more requests, end those that it has, and stop."""
        if left := await self._gateway.drain():
            seconds = self._gateway.served.config.limits.drain_s
            print(f"{left} requests did not end within {seconds:g} s", file=sys.stderr)
        self.should_exit = True


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of that address, on which nothing listens yet; port 0 is a free one.

    Raises ConfigError where the address cannot be had.
    """
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError([Problem("serve.host", host, f"cannot be resolved: {error}")]) from error
    with found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
        except OSError as error:
            raise ConfigError([Problem("serve.port", port, f"cannot be bound at {host}: {error.strerror}")]) from error
        yield found
