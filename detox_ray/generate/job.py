"""The generation job: which units there are, what their keys depend on, and the worker that makes one.

A unit is ``prompts_per_unit`` prompts of one language under one model, with all their samples. One engine serves all
languages of a model.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import GenerateConfig, Problem
from detox_ray.generate import engines
from detox_ray.generate.seeds import prompt_seed
from detox_ray.models import LoadableModel, vllm_options
from detox_ray.storage import Store, Unit, key_of
from detox_ray.storage.tables import GENERATIONS

VERSION = 2  # raise it whenever the code here or in models/codec.py changes what a unit holds


class EngineChoice(NamedTuple):
    name: str  # "vllm" or "transformers"
    version: str


def resolve_engine(config: GenerateConfig) -> EngineChoice:
    """The engine that will run, without importing it. Raises ValueError where it is not installed."""
    from importlib import metadata

    vllm = vllm_options.version()
    if config.engine == "vllm" or (config.engine == "auto" and vllm):
        if vllm is None:
            raise ValueError("vllm is not installed: install it, or choose auto or transformers")
        return EngineChoice("vllm", vllm)
    return EngineChoice("transformers", metadata.version("transformers"))


def check(config: GenerateConfig) -> list[Problem]:
    """What can be seen to be wrong before anything starts."""
    try:
        engine = resolve_engine(config)
    except ValueError as error:
        return [Problem("generate.engine", config.engine, str(error))]
    if engine.name == "transformers" and config.tensor_parallel > 1:
        return [
            Problem("generate.tensor_parallel", config.tensor_parallel, "only the vllm engine can use several GPUs")
        ]
    return []


def plan(
    model: LoadableModel, prompts: Mapping[str, tuple[str, int]], config: GenerateConfig, seed: int
) -> dict[Unit, str]:
    """Unit -> key. ``prompts``: language -> (key of its prompts unit, rows). Nothing in a key depends on actors."""
    engine = resolve_engine(config)
    units: dict[Unit, str] = {}
    for language, (prompts_key, rows) in prompts.items():
        for shard in range(-(-rows // config.prompts_per_unit)):
            units[Unit("generations", (model.name, language), shard)] = key_of(
                model=model.key,
                dtype=model.dtype,
                engine=engine,
                samples=config.samples,
                temperature=config.temperature,
                top_p=config.top_p,
                max_tokens=config.max_tokens,
                seed=seed,
                prompts=prompts_key,
                prompts_per_unit=config.prompts_per_unit,
                shard=shard,
                version=VERSION,
            )
    return units


def job(
    model: LoadableModel,
    pending: Mapping[Unit, str],
    prompts: Mapping[str, str],
    config: GenerateConfig,
    seed: int,
    store: Store,
) -> Job:
    """The job that makes ``pending``. ``prompts``: language -> key of its prompts unit."""
    tasks = [
        Task(unit, key, ((Unit("prompts", (unit.partition[1],)), prompts[unit.partition[1]]),))
        for unit, key in pending.items()
    ]
    settings = {"model": model, "config": config, "seed": seed, "store": store}
    return Job(model.name, tasks, Generator, settings, "tokens", gpus=config.tensor_parallel, alone=True)


class Generator:
    """Holds the engine of one model; makes a unit of completions per call."""

    def __init__(self, model: LoadableModel, config: GenerateConfig, seed: int, store: Store):
        self._config, self._seed, self._store = config, seed, store
        name = resolve_engine(config).name
        self._engine = engines.start(name, model.local_path(store), model.loading(), model.dtype, config)

    def make(self, task: Task) -> Product:
        size = self._config.prompts_per_unit
        ((unit, key),) = task.inputs
        prompts = self._store.read(unit, key).slice(task.unit.shard * size, size)
        ids = prompts["prompt_id"].to_pylist()
        seeds = [prompt_seed(self._seed, prompt_id) for prompt_id in ids]
        generated = self._engine.generate(prompts["text"].to_pylist(), seeds)
        rows = [
            {"prompt_id": prompt_id, "sample": sample, **completion._asdict()}
            for prompt_id, completions in zip(ids, generated.completions, strict=True)
            for sample, completion in enumerate(completions)
        ]
        assert len(rows) == len(ids) * self._config.samples, "an engine left samples out"
        tokens = sum(row["tokens"] for row in rows)
        info = {
            "engine": self._engine.name,
            "engine_version": self._engine.version,
            "device": self._engine.device,
            "prompts": len(ids),
            "tokens": tokens,
            "truncated_prompts": generated.cut,
        }
        return Product(pa.Table.from_pylist(rows, schema=GENERATIONS), info, tokens)

    def __del__(self) -> None:
        """Ray Data deletes the worker when its actor ends."""
        if hasattr(self, "_engine"):
            self._engine.close()
