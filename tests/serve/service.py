"""Starts and stops `detox-ray serve` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

START_S = 300.0  # on a loaded machine


class Service(NamedTuple):
    """A service that answers."""

    url: str
    run: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def serving(run: str, log: Path, *overrides: str) -> Iterator[Service]:
    """Serve ``run`` on a free port of loopback until the block ends."""
    command = [sys.executable, "-m", "detox_ray", "serve", run, "port=0", *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield Service(_url(process, log), run, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    said = log.read_text(errors="replace")
    assert process.returncode == 0, said[-5000:]
    assert "\nstopped\n" in said and "retries remaining" not in said, f"no clean goodbye: {said[-2000:]}"


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        if found := re.search(r"http://127\.0\.0\.1:\d+", said):
            return found.group()
        assert process.poll() is None, said[-5000:]
        time.sleep(0.5)
    raise TimeoutError(log.read_text(errors="replace")[-5000:])
