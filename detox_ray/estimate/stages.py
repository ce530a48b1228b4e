"""How long each stage takes at the assumed speeds, and on how many devices."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from detox_ray.config import (
    ClassifierConfig,
    DetoxifyConfig,
    Experiment,
    GuardConfig,
    PerspectiveConfig,
    ScorerConfig,
    TrainConfig,
)
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.assumptions import Assumptions, cores
from detox_ray.estimate.dimensions import scorer_parameters
from detox_ray.estimate.rows import PromptRows
from detox_ray.estimate.work import forward, of_generation
from detox_ray.score.catalogue import READY

if TYPE_CHECKING:
    from detox_ray.estimate import Training

GUARD_TOKENS = 300  # of a guard's own prompt around a text
MEASURE_SECONDS = 120.0


class Stage(NamedTuple):
    """One thing that runs. Of time, the smaller part is the wall's, the larger the devices'."""

    stage: str
    what: str
    tokens: float
    hours: float
    device_hours: float  # of GPUs; of CPU cores where there are none
    assumption: str


def device_of(config: TrainConfig, assumed: Assumptions) -> Assumptions:
    """The same, on a CPU where the block asks for workers without GPU."""
    asked = (config.resources_per_worker or {}).get("GPU", 1)
    return assumed if asked > 0 or not assumed.gpu else replace(assumed, device="cpu", gpu_memory=None, tflops=None)


def training(made: "Training", experiment: Experiment, assumed: Assumptions) -> list[Stage]:
    """Of every model that the block makes: they are trained one after another."""
    found = []
    for number, name in enumerate(made.names):
        config = experiment.models[name].train
        assert config is not None
        on = device_of(config, assumed)
        bits = 16 if config.autocast or config.dtype == "bfloat16" else 32
        each = 1.0 if on.gpu else (config.resources_per_worker or {}).get("CPU", 1.0)
        speed = config.workers * on.peak(bits, each) * on.mfu
        parts = [("training", made.work.training), ("evaluation", made.work.evaluation)]
        if number == 0 and made.work.reference.operations:  # its siblings find it
            parts.insert(1, ("reference log-probabilities", made.work.reference))
        for place, (what, work) in enumerate(parts):
            hours = (work.operations / speed + (assumed.start_seconds if place == 0 else 0)) / 3600
            found.append(
                Stage("train", f"{name}: {what}", work.tokens, hours, hours * config.workers * each, work.assumption)
            )
    return found


def after_training(
    experiment: Experiment,
    built: Mapping[str, Architecture],
    prompts: PromptRows,
    texts: tuple[int, int, str],
    gpus: int,
    assumed: Assumptions,
) -> list[Stage]:
    """Generation, scoring, and what follows. ``texts``: held-out and labelled ones, and how they were counted."""
    devices = gpus if assumed.gpu else cores()
    generate, found = experiment.generate, []
    bits = 16 if assumed.gpu else 32

    def stage(name: str, what: str, tokens: float, operations: float, share: float, how: str) -> None:
        hours = (operations / (devices * assumed.peak(bits) * share) + assumed.start_seconds) / 3600
        found.append(Stage(name, what, tokens, hours, hours * devices, how))

    for name, model in built.items():
        read, made = of_generation(model, prompts.rows, prompts.tokens, generate.samples, generate.max_tokens)
        operations = read.operations * assumed.decode_mfu / assumed.mfu + made.operations
        how = f"{read.assumption}; {made.assumption} ({prompts.assumption})"
        stage("generate", name, read.tokens + made.tokens, operations, assumed.decode_mfu, how)

    completions = len(built) * prompts.rows * generate.samples
    held_out, labelled, counted = texts
    judged = completions + labelled
    for entry in experiment.score.scorers:
        config = READY[entry].config if isinstance(entry, str) else entry
        found += _scorer(config, judged, generate.max_tokens, devices, assumed)
    sequence = prompts.tokens + generate.max_tokens
    for evaluator in experiment.quality.fluency:
        passes = 1
        if evaluator.model is not None:
            each: float | None = forward(built[evaluator.model], sequence)
        else:
            known = scorer_parameters(evaluator.path or "")
            each, passes = (None, 1) if known is None else (2.0 * known[0], 2)
        if each is None:
            found.append(_unknown(f"fluency by {evaluator.name}"))
            continue
        how = f"{completions:,} completions with their prompts" + (", and prompts alone" if passes == 2 else "")
        tokens = completions * sequence * passes
        stage("score", f"fluency by {evaluator.name}", tokens, tokens * each, assumed.mfu, how)
    if held_out:
        longest = 64.0
        operations = sum(held_out * longest * forward(model, longest) for model in built.values())
        how = f"{held_out:,} texts by {len(built)} models, {longest:g} tokens each ({counted})"
        stage("score", "likelihood of held-out text", held_out * longest * len(built), operations, assumed.mfu, how)
    hours = completions / assumed.completions_per_second / cores() / 3600
    how = f"{completions:,} completions at {assumed.completions_per_second:g} a second and core, {cores()} cores"
    found.append(Stage("score", "language and diversity", 0, hours, 0, how))
    found.append(Stage("measure", "measure and report", 0, MEASURE_SECONDS / 3600, 0, "assumed"))
    return found


def _scorer(config: ScorerConfig, texts: int, tokens: int, devices: int, assumed: Assumptions) -> list[Stage]:
    what = f"scores of {config.name}"
    if isinstance(config, PerspectiveConfig):
        hours = texts / config.queries_per_second / 3600
        how = f"{texts:,} texts at {config.queries_per_second:g} a second (queries_per_second); equal ones once"
        return [Stage("score", what, 0, hours, 0, how)]
    if not isinstance(config, DetoxifyConfig | ClassifierConfig | GuardConfig):
        return []  # looked up, or made from others
    known = scorer_parameters(config.path)
    if known is None:
        return [] if config.path.startswith("toy17") else [_unknown(what)]
    guard = isinstance(config, GuardConfig)
    each = tokens + 2 + (GUARD_TOKENS if guard else 0)
    total = float(texts * each)
    bits = 16 if assumed.gpu else 32
    hours = (2 * known[0] * total / (devices * assumed.peak(bits) * assumed.mfu) + assumed.start_seconds) / 3600
    how = f"{texts:,} texts of {each} tokens, {known[0] / 1e6:,.0f} M parameters ({known[1]}); equal ones once"
    return [Stage("score", what, total, hours, hours * devices, how)]


def _unknown(what: str) -> Stage:
    return Stage("score", what, 0, 0, 0, "not estimated: its number of parameters is not known here")
