"""Plan a run: commit its data, resolve its models, and derive the key of every unit.

Every key follows from the experiment and its data, so the whole plan is known before the first stage runs. Planning
does not need Ray.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from detox_ray import data, models, toy17
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Input, Planned, Stage
from detox_ray.config import TOY17, ConfigError, Experiment
from detox_ray.models import LoadableModel, chat_templates, limits
from detox_ray.run.stages import registered
from detox_ray.storage import Store, Unit, key_of
from detox_ray.storage.completion_tables import ABILITY, PROMPT_TABLES
from detox_ray.storage.tables import CORPUS, LABELLED, ORIGINALS, PAIRS, PROMPTS, TEXTS, WORLDS

WORLD = WORLDS.unit(name=TOY17)


def prepare(
    experiment: Experiment, store: Store, progress: Progress, checked: data.ExperimentData | None = None
) -> Context:
    """Commit the data, resolve models and scorers, and plan all stages.

    Args:
        experiment: The experiment.
        store: The run's folder.
        progress: Shows the building of toy17.
        checked: The data that a check has read; None: read it here.

    Raises:
        InputError: The input is wrong.
    """
    world = commit_world(store, experiment.seed, experiment.data.world, progress) if experiment.uses_toy17 else None
    given = _given_models(experiment, world)
    imported = frozenset(
        name for name, model in given.items() if experiment.models[name].parent is not None and not models.alone(model)
    )
    _check_hub_models(experiment, given, imported)
    context = Context(experiment, store, registered(), {}, given, imported)
    inputs = checked or data.ExperimentData.of(experiment)
    _commit_data(context, inputs, world)
    context.keys.update({unit: source.key for unit, source in context.data.items()})
    for stage in context.stages:
        context.resolved[stage.name] = stage.resolve(context)
    for stage in context.stages:
        plan(context, stage)
    return context


def plan(context: Context, stage: Stage) -> None:
    """Add a stage's units and their keys to the plan.

    A unit's key is the hash of its stage's name and version, its settings, and the names and keys of its inputs. The
    names matter, because two models that swap places have the same keys, each under the other's name.
    """
    planned = stage.units(context)

    def key(unit: Unit) -> str:
        if unit not in context.keys:
            inputs, settings = planned[unit]
            context.keys[unit] = key_of(
                stage=stage.name,
                version=stage.version,
                settings=settings,
                inputs={source.name: key(source) for source in inputs},
            )
        return context.keys[unit]

    for unit in planned:
        key(unit)
    context.planned.update(planned)


def made_of(planned: Mapping[Unit, Planned], units: Iterable[Unit]) -> set[Unit]:
    """Return ``units`` and all units that depend on them, directly or indirectly."""
    remade = set(units)
    users: dict[Unit, list[Unit]] = {}
    for unit, made_from in planned.items():
        for source in made_from.inputs:
            users.setdefault(source, []).append(unit)
    waiting = list(remade)
    while waiting:
        new = [user for user in users.get(waiting.pop(), ()) if user not in remade]
        remade.update(new)
        waiting += new
    return remade


def needed_by(planned: Mapping[Unit, Planned], units: Iterable[Unit]) -> set[Unit]:
    """Return all units that ``units`` depend on, directly or indirectly."""
    needed: set[Unit] = set()
    waiting = list(units)
    while waiting:
        new = [source for source in planned[waiting.pop()].inputs if source in planned and source not in needed]
        needed.update(new)
        waiting += new
    return needed


def commit_world(store: Store, seed: int, world: str, progress: Progress) -> Path:
    """Commit the built-in world, so that the run can resume on any machine, and return it as a local folder."""
    size = toy17.WORLDS[world]
    key = toy17.key(seed, size)
    if store.committed(WORLDS).get(WORLD) != key:
        with progress.steps("build toy17") as steps:
            folder = toy17.ensure(seed=seed, size=size, report=steps)
        store.retract(WORLD)  # so that a half-replaced folder does not count as committed
        store.upload(folder, TOY17)
        store.commit(WORLD, key, None)
    return store.localize(TOY17)


def _commit_data(context: Context, inputs: data.ExperimentData, world: Path | None) -> None:
    """Commit all data of the experiment."""
    rows_of: dict[Unit, data.Rows] = {}
    for table, by_language in (
        (PROMPTS, inputs.prompts(world)),
        (ABILITY.prompts, inputs.openings(world)),
        (TEXTS, inputs.texts(world)),
        (LABELLED, inputs.labelled(world)),
    ):
        for language, rows in by_language.items():
            rows_of[table.unit(language=language)] = rows
    for unit, training_rows in (
        (PAIRS.unit(), inputs.pairs(world)),
        (CORPUS.unit(), inputs.corpus(world)),
        (ORIGINALS.unit(), inputs.originals(world)),
    ):
        if training_rows is not None:
            rows_of[unit] = training_rows
    committed: dict[Unit, str] = {}
    for table in (PROMPTS, ABILITY.prompts, TEXTS, LABELLED, PAIRS, CORPUS, ORIGINALS):
        committed |= context.store.committed(table)
    for unit, rows in rows_of.items():
        key = data.source_key(rows.table)
        if committed.get(unit) != key:
            of_prompts = unit.table in {table.name for table in PROMPT_TABLES}
            group = context.experiment.generate.prompts_per_unit if of_prompts else None
            context.store.commit(unit, key, rows.table, {"skipped": len(rows.skipped)}, group=group)
        context.data[unit] = Input(key, rows.table.num_rows)
        if rows.skipped:
            context.skipped[unit.folder] = rows.skipped
        context.notes.extend(rows.notes)


def _given_models(experiment: Experiment, world: Path | None) -> dict[str, LoadableModel]:
    """Resolve the models that have a path."""
    given: dict[str, LoadableModel] = {}
    for name, model in experiment.models.items():
        if model.path == TOY17:
            assert world is not None
            key = models.folder_key(world / "model")
            given[name] = LoadableModel(name, f"{TOY17}/model", True, None, model.dtype, key)
        elif model.path is not None:
            given[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
    return given


def _check_hub_models(experiment: Experiment, given: Mapping[str, LoadableModel], imported: frozenset[str]) -> None:
    """Fetch the small files of the hub's models. Raises ConfigError if they show problems."""
    commits = {name: model.revision for name, model in given.items() if model.revision is not None}
    if not commits:
        return
    problems = []
    for name, commit in commits.items():
        location = given[name].location
        wanted = (models.ADAPTER,) if name in imported else ("config.json", *models.TOKENIZER, chat_templates.TEMPLATE)
        limits.fetch(location, commit, wanted)
        file = limits.file_of(location, commit, models.ADAPTER)
        if name in imported and file is not None:
            problems += models.check_adapter(f"models.{name}.path", file)
    pinned = {
        name: entry.model_copy(update={"revision": commits[name]}) if name in commits else entry
        for name, entry in experiment.models.items()
    }
    pinned_experiment = experiment.model_copy(update={"models": pinned})
    problems += limits.problems(pinned_experiment, limits.read(pinned_experiment))
    if problems:
        raise ConfigError(problems)
