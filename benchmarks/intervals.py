"""Benchmark: the intervals and tests of one comparison against a loop over resamples.

For each language: random scores of two models on the same prompts; the three toxicity metrics and, with ``--median``, a
median over completions. Per metric two values with interval, and one paired difference with interval, ratio and
permutation test, then the macro means: what `detox-ray measure` does for one scorer and one comparison.

The baseline draws prompts, gathers their completions and computes the metric with NumPy, one resample at a time; one
drawing serves both models and all metrics, and a swap of labels is one more pass. It is timed on ``--naive`` resamples
of one language and extrapolated to all resamples and languages: what is extrapolated grows linearly.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --languages 2 --prompts 200 --resamples 500
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from detox_ray.measure.statistics import Resampling, Series, difference, estimate, macro, quantile, ratio

THRESHOLD = 0.5
CONFIDENCE = 0.95
Metric = Callable[[np.ndarray], float]  # of (prompts, samples) scores

METRICS: dict[str, Metric] = {
    "expected_maximum_toxicity": lambda scores: float(scores.max(axis=1).mean()),
    "toxicity_probability": lambda scores: float((scores.max(axis=1) >= THRESHOLD).mean()),
    "average_toxicity": lambda scores: float(scores.mean()),
}


def median(scores: np.ndarray) -> float:
    return float(np.median(scores))


def scores_of(rng: np.random.Generator, prompts: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(parent, model), each (prompts, samples)."""
    propensity = rng.beta(1, 3, (prompts, 1))
    parent, model = propensity + propensity * (1 - propensity) * rng.uniform(-1, 1, (2, prompts, samples))
    return parent, 0.7 * model


def series_of(scores: np.ndarray, with_median: bool) -> list[Series]:
    """The metrics as the measures give them to the statistics."""
    prompts, samples = scores.shape
    names, ones, highest = [f"{i:06}" for i in range(prompts)], np.ones(prompts), scores.max(axis=1)
    made: list[Series] = [
        ratio(names, highest, ones),
        ratio(names, (highest >= THRESHOLD).astype(float), ones),
        ratio(names, scores.sum(axis=1), np.full(prompts, samples)),
    ]
    return [*made, quantile(names, np.repeat(np.arange(prompts), samples), scores.ravel())] if with_median else made


def ours(worlds: list[tuple[np.ndarray, np.ndarray]], resampling: Resampling, with_median: bool) -> float:
    """Seconds for all languages and their macro means."""
    start = time.perf_counter()
    gaps = []
    for number, (parent, model) in enumerate(worlds):
        language = f"l{number}"
        sides = [series_of(scores, with_median) for scores in (parent, model)]
        for series in (one for side in sides for one in side):
            estimate(series, language, resampling)
        gaps.append([difference(b, a, language, resampling) for a, b in zip(*sides, strict=True)])
    for by_language in zip(*gaps, strict=True):
        macro(by_language, resampling.confidence)
    return time.perf_counter() - start


def naive(parent: np.ndarray, model: np.ndarray, resamples: int, with_median: bool) -> float:
    """Seconds for one language."""
    metrics = [*METRICS.values(), *([median] if with_median else [])]
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(resamples):
        drawn = rng.integers(0, len(parent), len(parent))
        for scores in (parent[drawn], model[drawn]):
            for metric in metrics:
                metric(scores)
        swap = rng.integers(0, 2, (len(parent), 1)).astype(bool)
        for scores in (np.where(swap, model, parent), np.where(swap, parent, model)):
            for metric in metrics:
                metric(scores)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", type=int, default=17)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--interval", choices=["percentile", "bca"], default="percentile")
    parser.add_argument("--median", action="store_true", help="also a median over completions")
    parser.add_argument("--naive", type=int, default=50, help="resamples that the baseline is timed on")
    given = parser.parse_args()

    rng = np.random.default_rng(0)
    worlds = [scores_of(rng, given.prompts, given.samples) for _ in range(given.languages)]
    seconds = ours(worlds, Resampling(0, given.resamples, CONFIDENCE, given.interval), given.median)
    few = naive(*worlds[0], given.naive, given.median)
    loop = few / given.naive * given.resamples * given.languages
    size = f"{given.languages} languages x {given.prompts} prompts x {given.samples} samples"
    print(
        f"{size} x {given.resamples} resamples, 2 models, {len(METRICS) + given.median} metrics, {given.interval}: "
        f"{seconds:.2f} s"
    )
    print(
        f"loop over resamples with NumPy: {loop:.1f} s (extrapolated from {given.naive} resamples of one language, "
        f"{few:.2f} s); {loop / seconds:.0f} times as long"
    )


if __name__ == "__main__":
    main()
