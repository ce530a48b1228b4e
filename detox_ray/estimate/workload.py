"""The work of an experiment at the assumed speeds: what its stages ask when they state their costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detox_ray.cluster.costs import Cost, unknown
from detox_ray.config import Experiment, TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.assumptions import Assumptions, cores
from detox_ray.estimate.dimensions import scorer_parameters
from detox_ray.estimate.rows import PromptRows
from detox_ray.estimate.work import forward, of_generation
from detox_ray.score import ScorerVariant, definition_of

if TYPE_CHECKING:
    from detox_ray.estimate import Training


@dataclass(frozen=True)
class ExperimentWork:
    """The `detox_ray.cluster.costs.Workload` of an experiment."""

    experiment: Experiment
    built: Mapping[str, Architecture]  # model -> dimensions
    trainings: "Sequence[Training]"
    prompts: PromptRows
    held_out: int
    labelled: int
    counted: str
    gpus: int
    assumed: Assumptions

    @property
    def completions(self) -> int:
        return len(self.built) * self.prompts.rows * self.experiment.generate.samples

    @property
    def sequence(self) -> float:
        return self.prompts.tokens + self.experiment.generate.max_tokens

    @property
    def devices(self) -> int:
        """GPUs, or cores if there are none."""
        return self.gpus if self.assumed.gpu else cores()

    def training(self) -> list[Cost]:
        return [cost for each in self.trainings for cost in of_training(each, self.experiment, self.assumed)]

    def generation(self, model: str) -> Cost:
        generate, prompts, assumed = self.experiment.generate, self.prompts, self.assumed
        read, made = of_generation(
            self.built[model], prompts.rows, prompts.tokens, generate.samples, generate.max_tokens
        )
        operations = read.operations * assumed.decode_mfu / assumed.mfu + made.operations
        how = f"{read.assumption}; {made.assumption} ({prompts.assumption})"
        return self._computed("generate", model, read.tokens + made.tokens, operations, assumed.decode_mfu, how)

    def scoring(self, scorer: str, texts: int) -> list[Cost]:
        entries = dict(zip(self.experiment.score.names, self.experiment.score.scorers, strict=True))
        config = definition_of(entries[scorer])
        return _scorer(config, texts, self.experiment.generate.max_tokens, self.devices, self.assumed)

    def forward(self, model: str, length: float) -> float:
        return forward(self.built[model], length)

    def parameters(self, path: str) -> int | None:
        known = scorer_parameters(path)
        return None if known is None else known[0]

    def computed(self, stage: str, what: str, tokens: float, operations: float, assumption: str) -> Cost:
        return self._computed(stage, what, tokens, operations, self.assumed.mfu, assumption)

    def per_completion(self, stage: str, what: str) -> Cost:
        each = self.assumed.completions_per_second
        hours = self.completions / each / cores() / 3600
        how = f"{self.completions:,} completions at {each:g} a second and core, {cores()} cores"
        return Cost(stage, what, 0, hours, 0, how)

    def _computed(self, stage: str, what: str, tokens: float, operations: float, share: float, how: str) -> Cost:
        speed = self.devices * self.assumed.peak(16 if self.assumed.gpu else 32) * share
        hours = (operations / speed + self.assumed.start_seconds) / 3600
        return Cost(stage, what, tokens, hours, hours * self.devices, how)


def device_of(config: TrainConfig, assumed: Assumptions) -> Assumptions:
    """The same, on a CPU where the block asks for workers without GPU."""
    asked = (config.resources_per_worker or {}).get("GPU", 1)
    return assumed if asked > 0 or not assumed.gpu else replace(assumed, device="cpu", gpu_memory=None, tflops=None)


def of_training(made: "Training", experiment: Experiment, assumed: Assumptions) -> list[Cost]:
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
                Cost("train", f"{name}: {what}", work.tokens, hours, hours * config.workers * each, work.assumption)
            )
    return found


def _scorer(config: ScorerVariant, texts: int, tokens: int, devices: int, assumed: Assumptions) -> list[Cost]:
    """Return what scoring takes; nothing if scores are looked up, or made from others."""
    what, work = f"scores of {config.name}", config.work()
    if work is None:
        return []
    if work.texts_per_second is not None:
        hours = texts / work.texts_per_second / 3600
        how = f"{texts:,} texts at {work.texts_per_second:g} a second (queries_per_second); equal ones once"
        return [Cost("score", what, 0, hours, 0, how)]
    known = None if work.model is None else scorer_parameters(work.model)
    if known is None:
        return [unknown("score", what)]
    each = tokens + work.extra_tokens
    total = float(texts * each)
    bits = 16 if assumed.gpu else 32
    hours = (2 * known[0] * total / (devices * assumed.peak(bits) * assumed.mfu) + assumed.start_seconds) / 3600
    how = f"{texts:,} texts of {each} tokens, {known[0] / 1e6:,.0f} M parameters ({known[1]}); equal ones once"
    return [Cost("score", what, total, hours, hours * devices, how)]
