"""Estimates of the memory, tokens, time and disk that an experiment takes, before it starts.

`estimate` reads the experiment and those of its inputs that are on this machine. It needs no network, no GPU and no
weights. It raises no error if something cannot fit: `ExperimentEstimate.problems` holds that, with advice.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray import data, toy17
from detox_ray.cluster.costs import NOT_ESTIMATED, Cost, DeviceMemory
from detox_ray.cluster.stage import Stage
from detox_ray.config import Experiment, Problem, TrainConfig
from detox_ray.estimate import disk, engine_memory
from detox_ray.estimate.advice import Advice, advise
from detox_ray.estimate.architecture import Architecture, Tuning, architecture
from detox_ray.estimate.assumptions import GIB, Assumptions, assumptions_of
from detox_ray.estimate.computation import TrainingWork, training_work
from detox_ray.estimate.dimensions import FoundConfig, model_config
from detox_ray.estimate.disk import Space
from detox_ray.estimate.engine_memory import EngineMemory
from detox_ray.estimate.rows import (
    Inputs,
    PromptRows,
    TrainingRows,
    prompt_rows,
    text_count,
    tokenizer_at,
    training_rows,
)
from detox_ray.estimate.training_memory import Memory, worker_memory
from detox_ray.estimate.workload import ExperimentWork, device_of, loaded_dtype
from detox_ray.models import limits
from detox_ray.train import deepspeed_config, settings

__all__ = ["Assumptions", "ExperimentEstimate", "Training", "assumptions_for", "estimate"]


class Training(NamedTuple):
    """The estimate of one train block, shared by all its models that differ only in the seed."""

    names: list[str]
    parameters: int
    trained: int
    workers: int
    rows: TrainingRows
    work: TrainingWork
    memory: Memory
    limit: int  # bytes that a worker may hold
    advice: list[Advice]  # changes that make it fit; empty if it fits


class ExperimentEstimate(NamedTuple):
    """The estimate of a whole experiment, stage by stage."""

    name: str
    assumptions: Assumptions
    models: dict[str, tuple[int, str]]  # name -> (parameters, source of its dimensions)
    trainings: list[Training]
    engines: list[EngineMemory]
    memory: list[DeviceMemory]  # of other stages
    prompts: PromptRows
    stages: list[Cost]
    disk: list[Space]
    devices: int  # GPUs, or cores if there are no GPUs
    problems: list[Problem]

    @property
    def hours(self) -> float:
        """Return the wall-clock hours of all stages."""
        return sum(stage.hours for stage in self.stages)

    @property
    def device_hours(self) -> float:
        """Return the GPU-hours, or core-hours, of all stages."""
        return sum(stage.device_hours for stage in self.stages)

    @property
    def cost(self) -> float | None:
        """Return the price of all device-hours, in the currency of the assumed price; None if none is assumed."""
        return None if self.assumptions.price is None else self.device_hours * self.assumptions.price

    @property
    def not_estimated(self) -> list[Cost]:
        """Return the work whose time is not known, and is missing from the hours."""
        return [stage for stage in self.stages if stage.assumption.startswith(NOT_ESTIMATED)]


def estimate(experiment: Experiment, assumed: Assumptions, stages: Sequence[Stage]) -> ExperimentEstimate:
    """Estimate what the stages take.

    Raises InputError if a model's dimensions, or the number of rows, cannot be found.
    """
    # Find the config of each pretrained model, without weights.
    world = _world(experiment)
    inputs = Inputs(experiment, data.ExperimentData.of(experiment), world)
    roots = {name: limits.root(experiment, name) for name in experiment.models}
    configs = {
        root: model_config(root, path, experiment.models[root].revision, world)
        for root in dict.fromkeys(roots.values())
        if (path := experiment.models[root].path) is not None
    }
    files = {root: limits.ModelFiles(source.config, source.folder) for root, source in configs.items()}
    problems = limits.problems(experiment, files)

    # Estimate the memory of trainings and engines.
    tokenizers = {root: tokenizer_at(source.folder, assumed) for root, source in configs.items()}
    trainings = _trainings(inputs, roots, configs, tokenizers, assumed, problems)
    prompts = prompt_rows(inputs, tokenizers[roots[next(iter(experiment.models))]])
    architectures = {name: architecture(configs[root].config) for name, root in roots.items()}
    sequence = prompts.tokens + experiment.generate.max_tokens
    engines = [
        engine_memory.engine_memory(
            name, architectures[name], loaded_dtype(experiment.models[name]), experiment.generate, sequence, assumed
        )
        for name in experiment.models
        if prompts.rows
    ]
    problems += [_engine_problem(engine) for engine in engines if not engine.fits]

    # Estimate the time of each stage, and the disk space of the run.
    texts, labelled, openings, how = text_count(inputs)
    gpus = _gpus(trainings, assumed)
    work = ExperimentWork(experiment, architectures, trainings, prompts, texts, labelled, openings, how, gpus, assumed)
    memory = [held for stage in stages for held in stage.memory(work)]
    problems += [_memory_problem(held) for held in memory if not held.fits]
    space = [
        Space(f"weights of {name}, loaded once", _saved_bytes(architectures[name]), "as they are saved")
        for name in configs
    ]
    for training in trainings:
        for name in training.names:
            config = experiment.models[name].train
            assert config is not None
            space += disk.training_space(name, _architecture(configs[roots[name]], name, config), config)
    space += disk.completion_space(work.completions, len(experiment.score.names))
    return ExperimentEstimate(
        experiment.name,
        assumed,
        {name: (architectures[name].parameters, configs[root].source) for name, root in roots.items()},
        trainings,
        engines,
        memory,
        prompts,
        [cost for stage in stages for cost in stage.costs(work)],
        space,
        work.devices,
        problems,
    )


def _trainings(
    inputs: Inputs,
    roots: dict[str, str],
    configs: dict[str, FoundConfig],
    tokenizers: dict[str, tuple[Any, str]],
    assumed: Assumptions,
    problems: list[Problem],
) -> list[Training]:
    """Estimate each train block once, and append to ``problems`` what cannot fit."""
    # Group the models whose train blocks differ only in the seed.
    experiment = inputs.experiment
    names_by_block: dict[str, list[str]] = {}
    for name in experiment.descent_order():
        config = experiment.models[name].train
        if config is None:  # imported
            continue
        block = json.dumps([roots[name], config.model_dump(mode="json", exclude={"seed", "parent"})], sort_keys=True)
        names_by_block.setdefault(block, []).append(name)

    trainings = []
    for names in names_by_block.values():
        name, config = names[0], experiment.models[names[0]].train
        assert config is not None
        field, worker = f"models.{name}.train", device_of(config, assumed)
        try:
            stage = deepspeed_config.read(config.deepspeed)["zero_optimization"]["stage"]
        except ValueError as error:
            problems.append(Problem(f"{field}.deepspeed", config.deepspeed, str(error)))
            continue
        problems += [] if worker.gpu else settings.needing_gpu(field, config)
        if worker.gpu and assumed.gpus is not None and config.workers > assumed.gpus:
            rule = f"must not be more than the cluster's {assumed.gpus} GPUs (--gpus)"
            problems.append(Problem(f"{field}.workers", config.workers, rule))
        source = configs[roots[name]]
        rows = training_rows(inputs, config, field, tokenizers[roots[name]], assumed)

        def memory_of(
            changed: TrainConfig,
            name: str = name,
            source: FoundConfig = source,
            gpu: bool = worker.gpu,
            longest: int | None = rows.longest,
        ) -> Memory:
            return worker_memory(_architecture(source, name, changed), changed, gpu, longest)

        # Compare a worker's memory with its device, and all workers' with the node.
        model, memory = _architecture(source, name, config), memory_of(config)
        limit = int(worker.memory(config.workers))
        suggestions: list[Advice] = []
        if memory.needed("device") > limit:
            suggestions = advise(config, stage, worker.gpu, limit, memory_of)
            problems.append(_training_problem(field, memory, limit, suggestions))
        host = memory.needed("host") * config.workers
        node_memory = worker.node_memory
        if node_memory is not None and host > node_memory * GIB:
            rule = f"must fit the node's {node_memory:g} GiB (--node-memory) with all {config.workers} workers on it"
            problems.append(Problem(field, f"{host / GIB:.1f} GiB of the node's memory", rule))
        work = training_work(model, config, rows)
        trainings.append(
            Training(names, model.parameters, model.trained, config.workers, rows, work, memory, limit, suggestions)
        )
    return trainings


def _architecture(source: FoundConfig, name: str, config: TrainConfig) -> Architecture:
    field = f"models.{name}.train"
    if config.tuning != "full":
        tuning = Tuning(settings.lora_of(config), None, f"{field}.lora.target_modules")
    else:
        patterns = None if config.trainable is None else tuple(config.trainable)
        tuning = Tuning(None, patterns, f"{field}.trainable")
    return architecture(source.config, tuning, config.dtype)


def _training_problem(field: str, memory: Memory, limit: int, suggestions: list[Advice]) -> Problem:
    changes = "; or ".join(str(suggestion) for suggestion in suggestions)
    if changes:
        advice = f"what would fit: {changes}"
    else:
        advice = "no change of the block that was tried fits: take a larger device"
    rule = f"a worker must fit {limit / GIB:.1f} GiB; {advice}"
    return Problem(field, f"{memory.needed('device') / GIB:.1f} GiB a worker, estimated", rule)


def _engine_problem(engine: EngineMemory) -> Problem:
    need = engine.weights + engine.context * engine.per_token + engine_memory.WORKSPACE
    rule = (
        f"an engine must hold weights and the cache of {engine.context} tokens in {engine.limit / GIB:.1f} GiB: "
        "a larger GPU, dtype: bfloat16, generate.quantization, or generate.tensor_parallel over several"
    )
    return Problem(f"models.{engine.model}", f"{need / GIB:.1f} GiB to generate, estimated", rule)


def _memory_problem(held: DeviceMemory) -> Problem:
    rule = f"a device must hold it in {held.limit / GIB:.1f} GiB: {held.advice}"
    return Problem(f"{held.stage}: {held.what}", f"{held.bytes / GIB:.1f} GiB, estimated", rule)


def _gpus(trainings: list[Training], assumed: Assumptions) -> int:
    return assumed.gpus or max((training.workers for training in trainings), default=1)


def _saved_bytes(model: Architecture) -> float:
    return model.parameters * engine_memory.BYTES.get(model.saved_dtype, 4)


def _world(experiment: Experiment) -> Path | None:
    return toy17.local(experiment.seed, toy17.WORLDS[experiment.data.world]) if experiment.uses_toy17 else None


def default_device(experiment: Experiment) -> str:
    """Return the device assumed without --device: a CPU for the built-in world, which is made for one."""
    return "cpu" if experiment.uses_toy17 else Assumptions.device


def assumptions_for(experiment: Experiment, **options: object) -> Assumptions:
    """Return the defaults, replaced by the command line's options. Raises ConfigError naming a wrong option."""
    assumed = assumptions_of(**options)
    return assumed if options.get("device") is not None else replace(assumed, device=default_device(experiment))
