"""The stage on Ray: killed in each of its parts, the same command carries it to the numbers of a run without Ray."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
import yaml
from planted_world import context, experiment, save_models
from stage_alone import run_alone

from detox_ray.explain.tables import ALL

# A table of each part of the stage, in the order in which they are made: each part is killed after its first unit.
PARTS = ("continuations", "neurons", "activations", "interventions")

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def started(config: Path, command: str) -> "subprocess.Popen[str]":
    """The command line in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "detox_ray", command, str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_in(part: str, process: "subprocess.Popen[str]", folder: Path) -> None:
    """Kill a run as soon as it has committed a unit of a table."""
    deadline = time.monotonic() + 300
    while not list((folder / "commits" / part).rglob("*.json")):
        assert process.poll() is None and time.monotonic() < deadline, part
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def table(folder: Path, name: str) -> tuple[list[object], list[float]]:
    """All values of a table in the order of its files, the numbers with a fraction apart."""
    exact: list[object] = []
    close: list[float] = []

    def add(value: object) -> None:
        if isinstance(value, list):
            for each in value:
                add(each)
        elif isinstance(value, float):
            close.append(value)
        else:
            exact.append(value)

    files = sorted((folder / name).rglob("*.parquet"), key=lambda file: str(file.parent))
    for file in files:
        add([list(row.values()) for row in pads.dataset(file).to_table().to_pylist()])
    return exact, close


def test_a_killed_stage_goes_on_and_ends_with_the_same_tables(tmp_path: Path) -> None:
    save_models(tmp_path)
    raw = experiment(tmp_path)
    config = tmp_path / "experiment.yaml"
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    folder = tmp_path / "runs" / "planted"
    for part in PARTS:
        kill_in(part, started(config, "run"), folder)
    before = {p: p.stat().st_mtime_ns for p in (folder / "commits").rglob("*.json")}
    again = started(config, "run")
    output, _ = again.communicate(timeout=500)
    assert again.returncode == 0, output
    assert all(p.stat().st_mtime_ns == made for p, made in before.items()), "what was committed is not made again"
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="why"' in page and "What it does not show" in page
    alone = context({**raw, "storage": str(tmp_path / "alone")})
    for name in ("generate", "scores", "explain"):
        run_alone(alone, [stage for stage in alone.stages if stage.name == name])
    for each in ALL:
        exact, close = table(folder, each.name)
        expected = table(tmp_path / "alone" / "planted", each.name)
        assert exact == expected[0], each.name
        np.testing.assert_allclose(close, expected[1], atol=1e-5, err_msg=each.name)
