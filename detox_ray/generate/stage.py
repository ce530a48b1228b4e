"""The generate stage: its units of completions, and everything that their content depends on.

A unit has all samples of ``prompts_per_unit`` prompts of one language under one model. One engine serves all languages
of a model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Task
from detox_ray.config import Experiment, GenerateConfig, Problem
from detox_ray.generate.engines import EngineChoice, resolve_engine
from detox_ray.generate.generator import Generator
from detox_ray.models import vllm_options
from detox_ray.storage import Table, Unit
from detox_ray.storage.completion_tables import TOXICITY, PromptTables
from detox_ray.storage.tables import CHECKPOINTS, GENERATIONS, PROMPTS

UNIT_SEEDS = (
    "generate.seeding: unit: a completion cannot be drawn again alone, but only with its whole unit, by the same "
    "version of the engine on the same kind of machine"
)


class GenerateStage(Stage):
    """The stage that draws completions of every prompt from every model."""

    name = command = title = "generate"
    version = 2  # raise it, too, when models/codec.py changes what a unit holds
    summary = "completions of every prompt by every model"
    measure = "tokens"
    needs: tuple[Table, ...] = (PROMPTS, CHECKPOINTS)
    writes = (GENERATIONS,)
    tables: ClassVar[PromptTables] = TOXICITY

    def sampling(self, experiment: Experiment) -> GenerateConfig:
        """Return how this stage's completions are drawn."""
        return experiment.generate

    def prompting(self, context: Context) -> dict[str, bool]:
        """Return more arguments for `Generator`, for prompts that are not plain text."""
        return {}

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        if experiment.generate.seeding == "unit":
            say(UNIT_SEEDS)
        return check(experiment.generate)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        config = self.sampling(context.experiment)
        engine = resolve_engine(config)
        options: dict[str, Any] = {"engine_options": config.engine_options} if config.engine_options else {}
        options |= self.prompting(context)
        if config.seeding == "unit":
            options |= {"seeding": config.seeding, "drawn_together": _drawn_together(config, engine)}
        planned: dict[Unit, Planned] = {}
        for name, model in context.models.items():
            for prompts in context.units(self.tables.prompts):
                made_from = context.of_model(
                    name,
                    prompts,
                    dtype=model.dtype,
                    engine=engine,
                    samples=config.samples,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    max_tokens=config.max_tokens,
                    seed=context.experiment.seed,
                    prompts_per_unit=config.prompts_per_unit,
                    **options,
                )
                for shard in range(-(-context.data[prompts].rows // config.prompts_per_unit)):
                    unit = self.tables.generations.unit(model=name, **dict(prompts.keys), shard=shard)
                    planned[unit] = made_from._replace(settings={**made_from.settings, "shard": shard})
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        config = self.sampling(context.experiment)
        jobs = []
        for name, model in context.models.items():
            settings = {
                "model": model,
                "config": config,
                "seed": context.experiment.seed,
                "store": context.store,
                **self.prompting(context),
            }
            of_model = [task for task in tasks if task.unit["model"] == name]
            job = Job(
                name,
                of_model,
                Generator,
                settings,
                self.measure,
                config.actors,
                gpus=config.tensor_parallel,
                alone=True,
                stages=config.pipeline_parallel,
            )
            jobs.append(job)
        return jobs

    def costs(self, work: Workload) -> list[Cost]:
        return [work.generation(model) for model in work.experiment.models] if work.completions else []


def _drawn_together(config: GenerateConfig, engine: EngineChoice) -> dict[str, Any]:
    """Return the settings, besides ``engine_options``, that decide which completions an engine draws together."""
    if engine.name != "vllm":
        return {}
    names = ("tensor_parallel", "pipeline_parallel", "gpu_memory_utilization", "cpu_kv_cache_gb")
    return {name: getattr(config, name) for name in names}


def check(config: GenerateConfig) -> list[Problem]:
    """Return the problems of the generate block that show before anything starts."""
    try:
        engine = resolve_engine(config)
    except ValueError as error:
        return [Problem("generate.engine", config.engine, str(error))]
    problems = []
    if engine.name == "transformers":
        for name in ("tensor_parallel", "pipeline_parallel"):
            if getattr(config, name) > 1:
                rule = "must be 1 for the transformers engine: only vllm can use several GPUs"
                problems.append(Problem(f"generate.{name}", getattr(config, name), rule))
        for name, value in config.engine_options.items():
            field = f"generate.engine_args.{name}" if name in config.engine_args else f"generate.{name}"
            rule = "is an option of the vllm engine, but the transformers engine is used: remove it"
            problems.append(Problem(field, value, rule))
    else:
        problems += vllm_options.check("generate.engine_args", config.engine_args)
    return problems
