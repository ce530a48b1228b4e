"""The work of an experiment at the assumed speeds, from which its stages state their costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detox_ray.cluster.costs import Cost, unknown
from detox_ray.config import Experiment, ModelConfig, TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.assumptions import Assumptions, cores
from detox_ray.estimate.computation import Computation, forward, generation_work
from detox_ray.estimate.dimensions import scorer_parameters
from detox_ray.estimate.engine_memory import BYTES
from detox_ray.estimate.rows import PromptRows
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
    openings: int
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
        """Return the number of GPUs, or of cores if there are no GPUs."""
        return self.gpus if self.assumed.gpu else cores()

    def training(self) -> list[Cost]:
        return [cost for block in self.trainings for cost in training_costs(block, self.experiment, self.assumed)]

    def generation(self, model: str) -> Cost:
        generate, prompts = self.experiment.generate, self.prompts
        work = generation_work(self.built[model], prompts.rows, prompts.tokens, generate.samples, generate.max_tokens)
        return self._generated("generate", model, work, prompts.assumption)

    def completing(self, stage: str, what: str, model: str, prompts: int, tokens: float, new: int, ground: str) -> Cost:
        return self._generated(stage, what, generation_work(self.built[model], prompts, tokens, 1, new), ground)

    def _generated(self, stage: str, what: str, work: tuple[Computation, Computation], ground: str) -> Cost:
        (reading, generating), assumed = work, self.assumed
        operations = reading.operations * assumed.decode_mfu / assumed.mfu + generating.operations
        tokens = reading.tokens + generating.tokens
        how = f"{reading.assumption}; {generating.assumption} ({ground})"
        return self._computed(stage, what, tokens, operations, assumed.decode_mfu, how)

    def scoring(self, scorer: str, texts: int) -> list[Cost]:
        entries = dict(zip(self.experiment.score.names, self.experiment.score.scorers, strict=True))
        config = definition_of(entries[scorer])
        return _scorer(config, texts, self.experiment.generate.max_tokens, self.devices, self.assumed)

    def forward(self, model: str, length: float) -> float:
        return forward(self.built[model], length)

    def weights(self, model: str) -> int:
        built = self.built[model]
        return built.parameters * self._width(model)

    def cache(self, model: str, tokens: int) -> int:
        return tokens * self.built[model].kv_elements_per_token * self._width(model)

    def mlp_width(self, model: str) -> int:
        return self.built[model].mlp_width

    @property
    def device_bytes(self) -> int:
        return int(self.assumed.memory(1))

    def _width(self, model: str) -> int:
        dtype = loaded_dtype(self.experiment.models[model])
        return BYTES.get(self.built[model].saved_dtype if dtype == "auto" else dtype, 4)

    def parameters(self, path: str) -> int | None:
        parameters = scorer_parameters(path)
        return None if parameters is None else parameters[0]

    def computed(self, stage: str, what: str, tokens: float, operations: float, assumption: str) -> Cost:
        return self._computed(stage, what, tokens, operations, self.assumed.mfu, assumption)

    def per_completion(self, stage: str, what: str) -> Cost:
        speed = self.assumed.completions_per_second
        hours = self.completions / speed / cores() / 3600
        how = f"{self.completions:,} completions at {speed:g} a second and core, {cores()} cores"
        return Cost(stage, what, 0, hours, 0, how)

    def _computed(self, stage: str, what: str, tokens: float, operations: float, share: float, how: str) -> Cost:
        speed = self.devices * self.assumed.peak(16 if self.assumed.gpu else 32) * share
        hours = (operations / speed + self.assumed.start_seconds) / 3600
        return Cost(stage, what, tokens, hours, hours * self.devices, how)


def loaded_dtype(model: ModelConfig) -> str:
    """Return the dtype of the weights that generation loads. A trained model is saved in its training dtype."""
    return model.train.dtype if model.train is not None and model.dtype == "auto" else model.dtype


def device_of(config: TrainConfig, assumed: Assumptions) -> Assumptions:
    """Return the assumptions for a block's workers: those of a CPU, if the block asks for no GPU."""
    gpus = (config.resources_per_worker or {}).get("GPU", 1)
    return assumed if gpus > 0 or not assumed.gpu else replace(assumed, device="cpu", gpu_memory=None, tflops=None)


def training_costs(training: "Training", experiment: Experiment, assumed: Assumptions) -> list[Cost]:
    """Return the costs of every model of a train block. They are trained one after another."""
    costs = []
    for number, name in enumerate(training.names):
        config = experiment.models[name].train
        assert config is not None
        worker = device_of(config, assumed)
        bits = 16 if config.autocast or config.dtype == "bfloat16" else 32
        devices = 1.0 if worker.gpu else (config.resources_per_worker or {}).get("CPU", 1.0)
        speed = config.workers * worker.peak(bits, devices) * worker.mfu
        parts = [("training", training.work.training), ("evaluation", training.work.evaluation)]
        if number == 0 and training.work.reference.operations:  # the block's other models reuse it
            parts.insert(1, ("reference log-probabilities", training.work.reference))
        for place, (what, work) in enumerate(parts):
            hours = (work.operations / speed + (assumed.start_seconds if place == 0 else 0)) / 3600
            device_hours = hours * config.workers * devices
            costs.append(Cost("train", f"{name}: {what}", work.tokens, hours, device_hours, work.assumption))
    return costs


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
