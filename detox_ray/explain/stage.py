"""The explain stage: why tuning works, and why its effect carries over to other languages.

It examines each tuned model and its parent. Without an ``explain`` block it has no units.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detox_ray.cluster.costs import Cost, DeviceMemory, Workload
from detox_ray.cluster.stage import Context, Planned, Section, Stage
from detox_ray.cluster.unit_jobs import Job, Task
from detox_ray.config import TOY17, Experiment, Problem
from detox_ray.explain import checks, costs, tables
from detox_ray.explain.given_files import read_lexicon, read_neurons, read_probe, shares_of
from detox_ray.explain.language_distances import distances_of
from detox_ray.explain.metrics import SPECS
from detox_ray.explain.parallel import parallel_sentences
from detox_ray.explain.plan import Explained, edited_generation, parents_of, scorer_of, units
from detox_ray.explain.section import section
from detox_ray.explain.settings import Settings
from detox_ray.explain.transfer_tables import SHARE
from detox_ray.generate.engines import resolve_engine
from detox_ray.measure.resampling import Resampling
from detox_ray.score import identifiers
from detox_ray.storage import Table, Unit
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import CHECKPOINTS, LABELLED, PAIRS, PROMPTS, SCORES, TEXTS
from detox_ray.toy17.insult_lexicon import insults

# The tables that one worker makes in one round, by the name of its job.
ROUNDS: tuple[tuple[str, tuple[Table, ...]], ...] = (
    ("texts", (tables.PROBES, tables.CONTINUATIONS, tables.ALIGNMENTS)),
    ("value vectors", (tables.NEURONS, tables.PROJECTIONS)),
    ("activations", (tables.ACTIVATIONS, tables.RESIDUAL_STATES)),
)
FROM_TABLES = (
    tables.SOURCES,
    tables.SOURCE_ACTIVATIONS,
    tables.LANGUAGE_OVERLAPS,
    tables.RESIDUAL_SHIFTS,
    tables.CONTRIBUTIONS,
    tables.PREDICTORS,
    tables.CORRELATIONS,
)


class ExplainStage(Stage):
    """The stage that examines tuned models and their parents."""

    name = command = title = "explain"
    variations = ("edit", "text")
    version = 4  # also raise it if models/codec.py, models/mlp.py or models/edits.py change the content of a unit
    summary = "why tuning works: neurons, interventions, and predictors of transfer"
    needs = (PROMPTS, TEXTS, LABELLED, PAIRS, CHECKPOINTS, SCORES)
    writes = tables.ALL

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return [] if experiment.explain is None else checks.check(experiment)

    def resolve(self, context: Context) -> Explained | None:
        """Return the models to explain, with the content of the files that the block names."""
        experiment, config = context.experiment, context.experiment.explain
        if config is None:
            return None
        sentences = (
            {}
            if config.parallel is None
            else parallel_sentences(config.parallel, experiment.languages, experiment.seed)
        )
        measure = experiment.measure
        resampling = Resampling(experiment.seed, measure.bootstrap, measure.confidence)
        lexicon, shares = {}, None
        if experiment.uses_toy17:
            world = json.loads((context.store.localize(TOY17) / "world.json").read_text(encoding="utf-8"))
            lexicon, shares = insults(), world["token_share"]
        if config.lexicon is not None:
            lexicon = read_lexicon(Path(config.lexicon).expanduser())
        if config.shares is not None:
            shares = shares_of(config.shares)
        properties: dict[str, Mapping[str, float]] = {}
        if shares is not None:
            properties[SHARE] = {language: math.log(share) for language, share in shares.items() if share}
        if config.distances is not None:
            properties |= distances_of(config.distances, experiment.languages)
        given = None if config.sources is None else tuple(read_neurons(Path(config.sources).expanduser()))
        stored = None
        if config.probe.path is not None:
            stored = tuple(read_probe(Path(config.probe.path).expanduser()).tolist())
        settings = Settings(config, resampling, sentences, lexicon, given, stored)
        return Explained(parents_of(experiment), settings, properties)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        explained: Explained | None = context.resolved[self.name]
        return {} if explained is None else units(context, explained)

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        # Their imports take seconds, and most commands start no job.
        from detox_ray.explain.model_worker import ModelWorker
        from detox_ray.explain.table_worker import TableWorker

        explained: Explained = context.resolved[self.name]
        config, models, store = explained.settings.config, context.models, context.store

        def of(model: str | None, *chosen: Table) -> list[Task]:
            names = {table.name for table in chosen}
            return [task for task in tasks if task.unit.table in names and model in (None, task.unit["model"])]

        jobs = []
        for model in explained.models:
            settings = {"model": models[model], "settings": explained.settings, "store": store}
            jobs += [
                Job(
                    f"{model}: {label}",
                    of(model, *written),
                    ModelWorker,
                    settings,
                    "rows",
                    config.actors,
                    config.gpus_per_model,
                )
                for label, written in ROUNDS
            ]
            jobs.append(self._interventions(context, explained, model, of(model, tables.INTERVENTIONS)))
        shared = {
            "settings": explained.settings,
            "parents": explained.parents,
            "properties": explained.properties,
            "store": store,
        }
        jobs.append(Job("tables", of(None, *FROM_TABLES), TableWorker, shared, "rows", config.actors, gpus=0))
        return jobs

    def _interventions(self, context: Context, explained: Explained, model: str, tasks: list[Task]) -> Job:
        from detox_ray.explain.intervention_worker import Identification, InterventionWorker

        experiment, config = context.experiment, explained.settings.config
        parent = explained.parents.get(model)
        quality, also = experiment.quality, tuple(identifiers.beside_known(experiment.languages))
        generate = edited_generation(experiment)
        on_vllm = resolve_engine(generate).name == "vllm"
        settings = {
            "model": context.models[model],
            "parent": parent and context.models[parent],
            "settings": explained.settings,
            "generate": generate,
            "seed": experiment.seed,
            "scorer": next(scorer for scorer in context.resolved["scores"] if scorer.name == scorer_of(experiment)),
            "identification": quality.identifier and Identification(quality.identifier, quality.fasttext, also),
            "batch_tokens": experiment.score.batch_tokens,
            "store": context.store,
        }
        gpus = generate.tensor_parallel if on_vllm else config.gpus_per_model
        label = f"{model}: interventions"
        return Job(label, tasks, InterventionWorker, settings, "rows", config.actors, gpus, alone=on_vllm)

    def metrics(self) -> Sequence[MetricSpec]:
        return SPECS

    def costs(self, work: Workload) -> list[Cost]:
        return [] if work.experiment.explain is None else costs.costs(work, self.command)

    def memory(self, work: Workload) -> list[DeviceMemory]:
        return [] if work.experiment.explain is None else costs.memory(work, self.command)

    def section(self, context: Context) -> Section | None:
        explained: Explained | None = context.resolved[self.name]
        return None if explained is None else section(context, explained)
