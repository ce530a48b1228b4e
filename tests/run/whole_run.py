"""The experiment of these tests, on a small world, and its command line with the example stage."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LANGUAGES = ["ar", "en", "ja"]
PROMPTS, SAMPLES, PER_UNIT = 6, 4, 3
SCORERS = ("classifier", "insults", "both", "service")
SECRET = "planted-5ecret"
SECRETS = dict.fromkeys(("SERVICE_KEY", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"), SECRET)


def experiment(world: Path, folder: Path, service: str) -> dict[str, Any]:
    """The small world as a user's own files, with every stage for real: DeepSpeed, vLLM, Detoxify."""
    return {
        "name": "small",
        "storage": str(folder / "runs"),
        "languages": LANGUAGES,
        "data": {
            "prompts": {"source": "file", "path": str(world / "prompts.jsonl"), "per_language": PROMPTS},
            "pairs": {"source": "file", "path": str(world / "pairs.jsonl")},
            "texts": {"source": "file", "path": str(world / "texts.jsonl"), "per_language": 5},
        },
        "models": {
            "base": {"path": str(world / "model")},
            "detox": {
                "train": {
                    "parent": "base",
                    "workers": 2,
                    "max_steps": 12,
                    "warmup_steps": 1,
                    "learning_rate": 1e-4,
                    "batch_size": 4,
                    "max_length": 64,
                    "checkpoint_every": 3,
                }
            },
        },
        "generate": {"engine": "vllm", "samples": SAMPLES, "prompts_per_unit": PER_UNIT},
        "score": {
            "scorers": [
                {
                    "name": "classifier",
                    "type": "detoxify",
                    "path": str(world / "classifier" / "detoxify.ckpt"),
                    "huggingface_config": str(world / "classifier"),
                },
                {"name": "insults", "type": "lexicon", "path": str(world / "lexicon.json")},
                {"name": "both", "type": "ensemble", "members": ["classifier", "insults"], "combine": "max"},
                {
                    "name": "service",
                    "type": "perspective",
                    "url": service,
                    "key_env": "SERVICE_KEY",
                    "queries_per_second": 1000,
                },
            ],
            "reference": "insults",
        },
        "validity": {"source": "file", "path": str(world / "labelled.jsonl")},
        "quality": {"fluency": [{"name": "under-base", "model": "base"}]},
        "measure": {"bootstrap": 200},
    }


def started(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
    """Start the command line with the example stage, in a process group of its own."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(HERE / "with_example_stage.py"), *map(str, arguments)]
    environment = {**os.environ, **SECRETS, "PYTHONPATH": path}
    return subprocess.Popen(command, text=True, start_new_session=True, env=environment, **options)


def finished(*arguments: str | Path) -> str:
    """Run a command to its end, without an error, and return what it printed."""
    process = started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        printed, _ = process.communicate(timeout=400)
    finally:
        _end(process)
    assert process.returncode == 0, printed
    return printed


def ended(by: signal.Signals, pattern: str, *arguments: str | Path) -> tuple[int, str]:
    """Start a run and send it a signal as soon as a line of its log matches; its exit code and its log."""
    process = started(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    seen = []
    try:
        for line in process.stderr:
            seen.append(line)
            if re.search(pattern, line):
                break
        else:
            pytest.fail(f"no line matched {pattern!r}:\n{''.join(seen)}")
        os.killpg(process.pid, by)
        seen += process.stderr  # until it has gone
        return process.wait(60), "".join(seen)
    finally:
        _end(process)
        process.stderr.close()


def _end(process: "subprocess.Popen[str]") -> None:
    """End what is left of a command, and of the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def numbers(folder: Path) -> dict[str, Any]:
    """results.json without what differs from run to run: timings."""
    results = json.loads((folder / "report" / "results.json").read_text(encoding="utf-8"))
    return {name: value for name, value in results.items() if name not in ("timings", "experiment")}


def markers(folder: Path) -> dict[str, int]:
    """Commit marker -> when it was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted((folder / "commits").rglob("*.json"))}
