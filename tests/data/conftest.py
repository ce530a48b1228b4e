"""Fixtures that write sources and find a copy of RTP-LX."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSON Lines; rows of bytes are written unchanged."""

    def write(name: str, rows: Sequence[Mapping[str, Any] | bytes], start: bytes = b"", end: bytes = b"\n") -> Path:
        lines = [
            row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")
            for row in rows
        ]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(start + b"".join(line + end for line in lines))
        return path

    return write


@pytest.fixture(scope="session")
def rtp_lx_folder() -> Path:
    """A real copy of RTP-LX. Its authors keep it from crawlers: never print or commit any of it."""
    default = Path(__file__).parents[2].parent / "shared" / "data" / "rtp-lx"
    folder = Path(os.environ.get("DETOX_RAY_RTP_LX") or default)
    if not folder.is_dir():
        pytest.skip("no copy of RTP-LX here; DETOX_RAY_RTP_LX names one")
    return folder
