"""One look at a GPU, in at most ten minutes and without a network: `python benchmarks/gpu.py`.

Each part runs in a process of its own, with random weights in the shape of Llama 3.2 1B (time and memory depend on
shapes, not on weights), and a part that fails or takes too long leaves the others alone:

    dpo         steps of DPO on all weights in bfloat16: share of the peak, and peak memory against `detox-ray plan`
    qlora       the same by QLoRA (needs bitsandbytes)
    scoring     our Detoxify scorer in bfloat16 against Detoxify.predict, XLM-R of base size
    generation  a vLLM engine with and without a seed per request (needs vLLM)
    edits       neurons' activations raised by edits of weights: cost of a forward pass, and undone to the bit

`--device cpu --quick` runs the same code on a tiny model. `--json FILE` keeps the results.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARTS = {"dpo": 150, "qlora": 150, "scoring": 90, "generation": 150, "edits": 60}  # seconds at most
TOTAL_S = 570


def run_part(part: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Carry out one part in a process of its own, and return its result, or why there is none."""
    if part == "qlora" and options.device == "cpu":
        return {"left out": "QLoRA needs a GPU"}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-W", "ignore", __file__, "--part", part, "--device", options.device]
        command += ["--answer", str(answer), *(["--quick"] if options.quick else [])]
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with subprocess.Popen(
            command,
            env={**os.environ, **offline},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                _, errors = process.communicate(timeout=seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)  # an engine's own processes, too: they would hold the GPU
                if isinstance(error, subprocess.TimeoutExpired):
                    return {"failed": f"took longer than {seconds:.0f} s"}
                raise
        if process.returncode or not answer.exists():
            return {"failed": errors.strip()[-1500:] or f"exit code {process.returncode}"}
        result: dict[str, Any] = json.loads(answer.read_text())
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps: whether it runs at all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the results")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        from gpu_parts import work

        with tempfile.TemporaryDirectory() as folder:
            result = work(options.part, Path(folder), options.device, options.quick)
        options.answer.write_text(json.dumps(result))
        return
    started, results = time.monotonic(), {}
    for part in options.parts or PARTS:
        left = TOTAL_S - (time.monotonic() - started)
        begun = time.monotonic()
        results[part] = run_part(part, options, min(PARTS[part], left)) if left > 0 else {"failed": "no time was left"}
        print(f"{part} ({time.monotonic() - begun:.0f} s)", flush=True)
        for name, value in results[part].items():
            print(f"  {name}: {value:.3g}" if isinstance(value, float) else f"  {name}: {value}", flush=True)
        if options.json:
            options.json.write_text(json.dumps({"device": options.device, "quick": options.quick, "parts": results}))
    if any("failed" in result for result in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
