"""Measure what the end of each unit costs: vLLM draws less and less at a time until a unit's last completion is there.

    python benchmarks/unit_size.py [--prompts 1024] [--samples 4] [--times 5] [--sizes 256 64] [--model FOLDER]

Draws the same completions in one call and in calls of each size, in turns, in one process, and prints the time of each
size over that of the one call: of medians, and of the fastest, which other work on the machine disturbs less. Without
``--model``, the model is that of the built-in world.
"""

import argparse
import json
import time

import numpy as np

from detox_ray import toy17
from detox_ray.config import GenerateConfig
from detox_ray.generate import prompt_seed
from detox_ray.generate.engines import start
from detox_ray.models import resolve_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 64], help="prompts per unit")
    parser.add_argument("--model", default=str(toy17.SHIPPED / "model"), help="a folder or a hub id")
    given = parser.parse_args()
    lines = (toy17.SHIPPED / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    prompts = [texts[number % len(texts)] for number in range(given.prompts)]
    seeds = [prompt_seed(0, str(number)) for number in range(given.prompts)]
    model = resolve_path("model", given.model, None, "auto")
    config = GenerateConfig(engine="vllm", samples=given.samples)
    engine = start("vllm", model.location, model.loading(), model.dtype, config)

    def drawn(size: int) -> float:
        begun = time.perf_counter()
        for first in range(0, len(prompts), size):
            engine.generate(prompts[first : first + size], seeds[first : first + size])
        return time.perf_counter() - begun

    sizes = [given.prompts, *given.sizes]
    drawn(min(sizes))  # the first call is slower
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(given.times):
        for size in sizes:
            seconds[size].append(drawn(size))
    engine.close()
    for size in sizes:
        medians, fastest = (
            function(seconds[size]) / function(seconds[given.prompts]) for function in (np.median, np.min)
        )
        print(
            f"{size} prompts per unit: {np.median(seconds[size]):.2f} s; over one call: "
            f"{medians:.3f} (medians), {fastest:.3f} (the fastest of each)"
        )


if __name__ == "__main__":
    main()
