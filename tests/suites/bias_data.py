"""Real rows of bias sets (evaluation only, never committed), and small made-up ones."""

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("DETOX_RAY_BIAS_DATA", Path(__file__).parents[3] / "shared" / "data" / "bias"))
OLD_ENCODING = "mac_roman"  # of the Dutch file


def real(name: str) -> Path:
    """Return a folder of real rows, or skip the test."""
    if not (REAL / name).is_dir():
        pytest.skip(f"{REAL / name} is not here")
    return REAL / name
