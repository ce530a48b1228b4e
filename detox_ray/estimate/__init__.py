"""What an experiment will take, before anything is spent: memory, tokens, time, disk. Everything is an estimate.

`estimate` reads the experiment and what of its inputs is on this machine; it needs no network, no GPU and no weights.
It refuses nothing by itself: what cannot fit is in `Estimate.problems`, with advice.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from detox_ray import toy17
from detox_ray.cluster.costs import Cost
from detox_ray.cluster.stage import Stage
from detox_ray.config import Experiment, ModelConfig, Problem, TrainConfig
from detox_ray.estimate import advice as advising
from detox_ray.estimate import disk, engines, memory
from detox_ray.estimate.advice import Advice
from detox_ray.estimate.architecture import Architecture, Tuning, architecture
from detox_ray.estimate.assumptions import GIB, Assumptions, checked
from detox_ray.estimate.dimensions import FoundConfig, model_config
from detox_ray.estimate.disk import Space
from detox_ray.estimate.engines import Engine
from detox_ray.estimate.memory import Memory
from detox_ray.estimate.rows import PromptRows, TrainingRows, prompt_rows, text_count, tokenizer_at, training_rows
from detox_ray.estimate.work import TrainingWork, of_training
from detox_ray.estimate.workload import ExperimentWork, device_of
from detox_ray.models import limits
from detox_ray.storage import cache_folder
from detox_ray.train import deepspeed_config, settings

__all__ = ["Assumptions", "Estimate", "Training", "assumptions_for", "estimate"]


class Training(NamedTuple):
    """Of the models that one train block makes, where they differ in the seed only."""

    names: list[str]
    parameters: int
    trained: int
    workers: int
    rows: TrainingRows
    work: TrainingWork
    memory: Memory
    limit: int  # bytes that a worker may hold
    advice: list[Advice]  # where it does not fit


class Estimate(NamedTuple):
    name: str
    assumptions: Assumptions
    models: dict[str, tuple[int, str]]  # name -> (parameters, where its dimensions come from)
    trainings: list[Training]
    engines: list[Engine]
    prompts: PromptRows
    stages: list[Cost]
    disk: list[Space]
    problems: list[Problem]

    @property
    def hours(self) -> float:
        return sum(stage.hours for stage in self.stages)

    @property
    def device_hours(self) -> float:
        return sum(stage.device_hours for stage in self.stages)


def estimate(experiment: Experiment, assumed: Assumptions, stages: Sequence[Stage]) -> Estimate:
    """Estimate what the stages will take.

    Raises InputError if a model's dimensions, or the number of rows, cannot be found.
    """
    world = _world(experiment)
    roots = {name: limits.root(experiment, name) for name in experiment.models}
    found = {
        root: model_config(root, path, experiment.models[root].revision, world)
        for root in dict.fromkeys(roots.values())
        if (path := experiment.models[root].path) is not None
    }
    known = {root: limits.ModelFiles(source.config, source.folder) for root, source in found.items()}
    problems = limits.problems(experiment, known)
    trainings = _trainings(experiment, roots, found, world, assumed, problems)
    first = found[roots[next(iter(experiment.models))]]
    prompts = prompt_rows(experiment, tokenizer_at(first.folder, assumed), world, assumed)
    built = {name: architecture(found[root].config) for name, root in roots.items()}
    running = [
        engines.of_model(name, built[name], _dtype(experiment, name), experiment.generate,
                         prompts.tokens + experiment.generate.max_tokens, assumed)
        for name in experiment.models
    ]  # fmt: skip
    problems += [_engine_problem(engine) for engine in running if not engine.fits]
    texts, labelled, how = text_count(experiment, world)
    gpus = _gpus(trainings, assumed)
    work = ExperimentWork(experiment, built, trainings, prompts, texts, labelled, how, gpus, assumed)
    space = [Space(f"weights of {name}, loaded once", _saved_bytes(built[name]), "as they are saved") for name in found]
    for training in trainings:
        for name in training.names:
            config = experiment.models[name].train
            assert config is not None
            space += disk.of_training(name, _built(found[roots[name]], name, config), config)
    space += disk.of_completions(work.completions, len(experiment.score.names))
    return Estimate(
        experiment.name,
        assumed,
        {name: (built[name].parameters, found[root].source) for name, root in roots.items()},
        trainings,
        running,
        prompts,
        [cost for stage in stages for cost in stage.costs(work)],
        space,
        problems,
    )


def _trainings(
    experiment: Experiment,
    roots: dict[str, str],
    found: dict[str, FoundConfig],
    world: Path | None,
    assumed: Assumptions,
    problems: list[Problem],
) -> list[Training]:
    alike: dict[str, list[str]] = {}
    for name in experiment.descent_order():
        config = experiment.models[name].train
        if config is None:  # imported
            continue
        same = json.dumps([roots[name], config.model_dump(mode="json", exclude={"seed", "parent"})], sort_keys=True)
        alike.setdefault(same, []).append(name)
    made = []
    for names in alike.values():
        name, config = names[0], experiment.models[names[0]].train
        assert config is not None
        field, on = f"models.{name}.train", device_of(config, assumed)
        try:
            stage = deepspeed_config.read(config.deepspeed)["zero_optimization"]["stage"]
        except ValueError as error:
            problems.append(Problem(f"{field}.deepspeed", config.deepspeed, str(error)))
            continue
        problems += [] if on.gpu else settings.needing_gpu(field, config)
        if on.gpu and assumed.gpus is not None and config.workers > assumed.gpus:
            rule = f"must not be more than the {assumed.gpus} GPUs that there are (--gpus)"
            problems.append(Problem(f"{field}.workers", config.workers, rule))
        source = found[roots[name]]
        rows = training_rows(experiment, config, field, tokenizer_at(source.folder, assumed), world, assumed)

        def memory_of(changed: TrainConfig, name: str = name, source: FoundConfig = source, on: Assumptions = on,
                      longest: int | None = rows.longest) -> Memory:  # fmt: skip
            return memory.of_worker(_built(source, name, changed), changed, on.gpu, longest)

        built, needs, limit = _built(source, name, config), memory_of(config), int(on.memory(config.workers))
        suggestions: list[Advice] = []
        if needs.needed("device") > limit:
            suggestions = advising.advise(config, stage, on.gpu, limit, memory_of)
            problems.append(_training_problem(field, needs, limit, suggestions))
        host = needs.needed("host") * config.workers
        if on.node_memory is not None and host > on.node_memory * GIB:
            rule = f"must fit the node's {on.node_memory:g} GiB (--node-memory) with all {config.workers} workers on it"
            problems.append(Problem(field, f"{host / GIB:.1f} GiB of the node's memory", rule))
        work = of_training(built, config, rows)
        made.append(
            Training(names, built.parameters, built.trained, config.workers, rows, work, needs, limit, suggestions)
        )
    return made


def _built(source: FoundConfig, name: str, config: TrainConfig) -> Architecture:
    field = f"models.{name}.train"
    if config.tuning != "full":
        tuning = Tuning(settings.lora_of(config), None, f"{field}.lora.target_modules")
    else:
        patterns = None if config.trainable is None else tuple(config.trainable)
        tuning = Tuning(None, patterns, f"{field}.trainable")
    return architecture(source.config, tuning, config.dtype)


def _training_problem(field: str, needs: Memory, limit: int, suggestions: list[Advice]) -> Problem:
    fit = "; or ".join(str(suggestion) for suggestion in suggestions)
    fit = f"what would fit: {fit}" if fit else "no change of the block that was tried fits: take a larger device"
    rule = f"a worker must fit {limit / GIB:.1f} GiB; {fit}"
    return Problem(field, f"{needs.needed('device') / GIB:.1f} GiB a worker, estimated", rule)


def _engine_problem(engine: Engine) -> Problem:
    need = engine.weights + engine.context * engine.per_token + engines.WORKSPACE
    rule = (
        f"an engine must hold weights and the cache of {engine.context} tokens in {engine.limit / GIB:.1f} GiB: "
        "a larger GPU, dtype: bfloat16, or generate.tensor_parallel over several"
    )
    return Problem(f"models.{engine.model}", f"{need / GIB:.1f} GiB to generate, estimated", rule)


def _gpus(trainings: list[Training], assumed: Assumptions) -> int:
    return assumed.gpus or max((training.workers for training in trainings), default=1)


def _saved_bytes(built: Architecture) -> float:
    return built.parameters * engines.BYTES.get(built.saved_dtype, 4)


def _dtype(experiment: Experiment, name: str) -> str:
    """Of the weights that are generated with: a trained model's are saved as they were trained."""
    model: ModelConfig = experiment.models[name]
    return model.train.dtype if model.train is not None and model.dtype == "auto" else model.dtype


def _world(experiment: Experiment) -> Path | None:
    folder = cache_folder() / "toy17" / toy17.key(experiment.seed)
    return folder if experiment.uses_toy17 and folder.is_dir() else None


def default_device(experiment: Experiment) -> str:
    """Where nothing is said: a CPU for the built-in world, which is made for one."""
    return "cpu" if experiment.uses_toy17 else Assumptions.device


def assumptions_for(experiment: Experiment, **given: object) -> Assumptions:
    """The command line's options over the defaults. Raises ConfigError naming the option."""
    chosen = checked(**given)
    return chosen if given.get("device") is not None else replace(chosen, device=default_device(experiment))
