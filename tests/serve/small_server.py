"""The HTTP server over fake engines: `python small_server.py FOLDER LIMIT=VALUE…` prints its address, later "ended"."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from fake_gateway import gateway

from detox_ray.config import ServeConfig
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http import keys
from detox_ray.serve.http.server import Server, bound_socket

if __name__ == "__main__":
    limits = {name: float(value) for name, value in (given.split("=") for given in sys.argv[2:])}
    made = gateway(Path(sys.argv[1]), ["base", "never"], keys=keys.required_keys(ServeConfig()), limits=limits)
    engines: Any = made.engines
    engines["never"].go.clear()  # it begins no answer, and ends no stream that it began
    with bound_socket("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asyncio.run(Server(made, fastapi_app(made), lambda: print(url, flush=True)).serve([listener]))
    print("ended", flush=True)
