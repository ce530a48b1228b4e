"""The HTTP server over fake engines, in a process of its own: its address and "ended" come through a pipe."""

import asyncio
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fake_gateway import gateway

from detox_ray.config import ServeConfig
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http import keys, server


def main(connection: Connection, folder: Path, hashed_keys: str, limits: dict[str, float]) -> None:
    os.environ[keys.ENVIRONMENT] = hashed_keys
    server.CLOSE_S = 1  # of what is given up, less is enough
    made = gateway(folder, ["base", "never"], keys=keys.required_keys(ServeConfig()), limits=limits)
    engines: Any = made.engines
    engines["never"].go.clear()  # it begins no answer, and ends no stream that it began
    with server.bound_socket("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asyncio.run(server.Server(made, fastapi_app(made), lambda: connection.send(url)).serve([listener]))
    connection.send("ended")
