"""From an experiment to the plan of its run: inputs committed, models resolved, and the key of every unit.

Every key follows from the experiment and its inputs alone, so the whole plan is known before the first stage runs.
No Ray.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from detox_ray import data, generate, measure, models, report, score, toy17, train
from detox_ray.cluster.progress import Progress
from detox_ray.config import TOY17, ConfigError, Experiment, TrainConfig
from detox_ray.models import LoadableModel, limits
from detox_ray.storage import Store, Unit, key_of

STAGES = ("train", "generate", "score", "measure", "report")
WORLD = Unit("world", (TOY17,))
PAIRS, CORPUS = Unit("pairs"), Unit("corpus")
METRICS, COMPARISONS = Unit("metrics"), Unit("comparisons")
REPORT = Unit("report", ("page",))


class Plan(NamedTuple):
    """Unit -> key of everything that the experiment asks for, by stage."""

    train: dict[Unit, str]
    generate: dict[Unit, str]
    score: dict[Unit, str]  # scores of every scorer, and what else is said of texts
    measure: dict[Unit, str]
    report: dict[Unit, str]

    def of_stage(self, stage: str) -> dict[Unit, str]:
        return getattr(self, stage)

    def of_table(self, table: str) -> dict[Unit, str]:
        return {unit: key for stage in self for unit, key in stage.items() if unit.table == table}


@dataclass(frozen=True)
class Prepared:
    """An experiment whose inputs stand in the run's folder."""

    experiment: Experiment
    store: Store
    prompts: dict[str, tuple[str, int]]  # language -> key of its prompts unit, rows
    texts: dict[str, str]  # language -> key of its texts unit
    labelled: dict[str, str]  # language -> key of its labelled texts unit
    training: dict[Unit, str]  # PAIRS and CORPUS, where the experiment has them -> key
    skipped: dict[str, list[str]]  # folder of an input unit -> "path:line: reason" of each row left out
    notes: list[str]  # what the readers have to say of their sources
    models: dict[str, LoadableModel]  # in the experiment's order
    imported: dict[str, LoadableModel]  # as given, of those that are made whole in the run's folder
    scorers: list[score.ResolvedScorer]
    evaluators: list[LoadableModel]  # of completions' perplexity
    diversity_units: LoadableModel | None  # what has the tokenizer; None: words
    plan: Plan

    @property
    def prompt_keys(self) -> dict[str, str]:
        return {language: key for language, (key, _) in self.prompts.items()}

    def pending(self, stage: str) -> dict[Unit, str]:
        """The units of a stage that are not committed under their key."""
        return pending(self.store, self.plan.of_stage(stage))


def named(units: Mapping[Unit, str]) -> dict[str, str]:
    """The units' names with their keys: what a key that is made of other units' keys hashes.

    The keys alone would not do: two models that swap their places have the same keys, under each other's name.
    """
    return {f"{unit.folder}/{unit.shard:05d}": key for unit, key in units.items()}


def pending(store: Store, units: Mapping[Unit, str]) -> dict[Unit, str]:
    """The units that are not committed under their key."""
    committed: dict[Unit, str] = {}
    for table in {unit.table for unit in units}:
        committed |= store.committed(table)
    return {unit: key for unit, key in units.items() if committed.get(unit) != key}


def prepare(experiment: Experiment, store: Store, progress: Progress) -> Prepared:
    """Commit the inputs, resolve models and scorers, plan the rest.

    Raises config.InputError for input that is wrong.
    """
    world = _world(experiment, store, progress) if experiment.uses_toy17 else None
    skipped: dict[str, list[str]] = {}
    notes: list[str] = []

    def commit(unit: Unit, rows: data.Rows) -> str:
        key = data.source_key(rows.table)
        if store.committed(unit.table).get(unit) != key:
            store.commit(unit, key, rows.table, {"skipped": len(rows.skipped)})
        if rows.skipped:
            skipped[unit.folder] = rows.skipped
        notes.extend(rows.notes)
        return key

    config, languages = experiment.data, experiment.languages
    prompts = {
        language: (commit(Unit("prompts", (language,)), rows), rows.table.num_rows)
        for language, rows in data.read_prompts(config.prompts, languages, config.on_error, world).items()
    }
    texts: dict[str, str] = {}
    if config.texts is not None:
        read = data.read_texts(config.texts, languages, config.on_error, world)
        texts = {language: commit(Unit("texts", (language,)), rows) for language, rows in read.items()}
    labelled: dict[str, str] = {}
    if experiment.validity is not None:
        judged = data.read_labelled(experiment.validity, languages, config.on_error, world)
        labelled = {language: commit(Unit("labelled", (language,)), rows) for language, rows in judged.items()}
    training: dict[Unit, str] = {}
    if config.pairs is not None:
        training[PAIRS] = commit(PAIRS, data.read_pairs(config.pairs, config.on_error, world))
    if config.corpus is not None:
        training[CORPUS] = commit(CORPUS, data.read_corpus(config.corpus, config.on_error, world))

    resolved, imported = _models(experiment, world, training)
    _check_hub_models(experiment, resolved, imported)
    scorers: dict[str, score.ResolvedScorer] = {}
    for entry, name in zip(experiment.score.scorers, experiment.score.names, strict=True):
        scorers[name] = score.resolve(entry, TOY17 if world else None, store, scorers)
        notes.extend(scorers[name].notes)
    quality = experiment.quality
    evaluators = [score.resolve_evaluator(evaluator, resolved) for evaluator in quality.fluency]
    units = None if quality.diversity is None else score.resolve_units(quality.diversity, resolved)
    prepared = Prepared(
        experiment,
        store,
        prompts,
        texts,
        labelled,
        training,
        skipped,
        notes,
        resolved,
        imported,
        list(scorers.values()),
        evaluators,
        units,
        Plan({}, {}, {}, {}, {}),
    )
    return replace(prepared, plan=_plan(prepared))


def learns_from(config: TrainConfig) -> Unit:
    return CORPUS if config.train_on == "corpus" else PAIRS


def _world(experiment: Experiment, store: Store, progress: Progress) -> Path:
    """The built-in world as a local folder; the run keeps a copy, so that it can go on on any machine."""
    key = toy17.key(experiment.seed)
    if store.committed(WORLD.table).get(WORLD) != key:
        with progress.steps("build toy17") as steps:
            folder = toy17.ensure(seed=experiment.seed, report=steps)
        store.retract(WORLD)  # a folder that is half replaced is no unit
        store.upload(folder, TOY17)
        store.commit(WORLD, key, None)
    return store.localize(TOY17)


def _models(
    experiment: Experiment, world: Path | None, training: Mapping[Unit, str]
) -> tuple[dict[str, LoadableModel], dict[str, LoadableModel]]:
    """All models as they will be; and, as they are given, those that are imported (train/checkpoint_import.py)."""
    found: dict[str, LoadableModel] = {}
    for name, model in experiment.models.items():
        if model.path == TOY17:
            assert world is not None
            key = models.folder_key(world / "model")
            found[name] = LoadableModel(name, f"{TOY17}/model", True, None, model.dtype, key)
        elif model.path is not None:
            found[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
    imported: dict[str, LoadableModel] = {}
    for name in experiment.descent_order():
        model = experiment.models[name]
        assert model.descends_from is not None
        parent = found[model.descends_from]
        if model.train is not None:
            key = train.key(model.train, parent.key, training[learns_from(model.train)], experiment.seed)
        elif models.alone(found[name]):
            continue
        else:
            imported[name] = found[name]
            key = train.import_key(found[name], parent)
        found[name] = LoadableModel(name, f"checkpoints/{name}", True, None, model.dtype, key)
    return {name: found[name] for name in experiment.models}, imported


def _check_hub_models(
    experiment: Experiment, resolved: Mapping[str, LoadableModel], imported: Mapping[str, LoadableModel]
) -> None:
    """Raise ConfigError for what can be seen to be wrong once the small files of hub ids are here."""
    given = {**resolved, **imported}
    on_hub = {name: model for name, model in given.items() if model.revision is not None}
    if not on_hub:
        return
    problems = []
    for name, model in on_hub.items():
        assert model.revision is not None
        wanted = (models.ADAPTER,) if name in imported else ("config.json", *models.TOKENIZER)
        limits.fetch(model.location, model.revision, wanted)
        file = limits.file_of(model.location, model.revision, models.ADAPTER)
        if name in imported and file is not None:
            problems += models.check_adapter(f"models.{name}.path", file)
    pinned = {name: entry.model_copy(update={"revision": on_hub[name].revision}) if name in on_hub else entry
              for name, entry in experiment.models.items()}  # fmt: skip
    pinned_experiment = experiment.model_copy(update={"models": pinned})
    problems += limits.problems(pinned_experiment, limits.read(pinned_experiment))
    if problems:
        raise ConfigError(problems)


def _plan(prepared: Prepared) -> Plan:
    experiment, quality = prepared.experiment, prepared.experiment.quality
    prompts = prepared.prompt_keys
    generations: dict[Unit, str] = {}
    said: dict[Unit, str] = {}
    for model in prepared.models.values():
        generations |= generate.plan(model, prepared.prompts, experiment.generate, experiment.seed)
        said |= score.plan_likelihoods(model, prepared.texts)
    for scorer in prepared.scorers:
        said |= score.plan(scorer, generations)
        said |= score.plan_labelled(scorer, prepared.labelled)
    said |= score.plan_identifications(generations, quality)
    if quality.diversity is not None:
        said |= score.plan_diversities(prepared.diversity_units, generations, prompts)
    for evaluator in prepared.evaluators:
        said |= score.plan_fluencies(evaluator, generations, prompts)
    labelled = {Unit("labelled", (language,)): key for language, key in prepared.labelled.items()}
    asked = {Unit("prompts", (language,)): key for language, key in prompts.items()}
    measured = key_of(
        inputs=named(asked | labelled | generations | said),
        # Their order is the rows' order, and "macro" is over these languages.
        languages=experiment.languages,
        models=list(prepared.models),
        scorers=[scorer.name for scorer in prepared.scorers],
        quality=quality.model_dump(),
        reference=experiment.score.reference,
        compare=[comparison.model_dump() for comparison in experiment.comparisons],
        seed_groups=list(experiment.seed_groups.items()),
        settings=experiment.measure.model_dump(),
        validity=experiment.validity and experiment.validity.model_dump(),
        seed=experiment.seed,
        version=measure.VERSION,
    )
    page = key_of(
        inputs=named({METRICS: measured, COMPARISONS: measured}),
        experiment=experiment.to_yaml(),
        skipped=prepared.skipped,
        notes=prepared.notes,
        version=report.VERSION,
    )
    checkpoints = {
        Unit("checkpoints", (name,)): model.key
        for name, model in prepared.models.items()
        if model.location.startswith("checkpoints/") and model.in_store
    }
    return Plan(checkpoints, generations, said, {METRICS: measured, COMPARISONS: measured}, {REPORT: page})
