"""The tasks that an experiment asks in each language, with the questions whose files are on this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray import data
from detox_ray.cluster.stage import Context, Input
from detox_ray.config import Experiment, InputError, KnowledgeConfig, KnowledgeTask, Problem
from detox_ray.data.record_files import records
from detox_ray.models.hub_errors import why_not_on_hub
from detox_ray.score.scorer_variant import digest
from detox_ray.storage import Unit, key_of
from detox_ray.suites.knowledge.catalogue import READY, TOY17_CLOZE, ReadyTask
from detox_ray.suites.knowledge.tables import QUESTIONS, TASK_FILES
from detox_ray.toy17 import cloze

ENDINGS = (".parquet", ".jsonl", ".json", ".csv")


class Asked(NamedTuple):
    """A task in one language."""

    shots: int | None  # None: the YAML of the user's task decides
    per_task: int | None
    rows: int | None  # number of questions; None: unknown before they are loaded, so they form one unit
    key: str  # changes whenever the questions may change
    folder: str = ""  # folder of a user's task in the run
    file: str = ""  # YAML of the task in this folder
    commit: str | None = None  # commit of questions that the workers read from the hub


def tasks_of(config: KnowledgeConfig) -> list[ReadyTask | KnowledgeTask]:
    """Return the tasks of a block that has passed its checks."""
    return [READY[task] if isinstance(task, str) else task for task in config.tasks]


def languages_of(task: ReadyTask | KnowledgeTask, config: KnowledgeConfig, languages: list[str]) -> list[str]:
    """Return the experiment's languages in which a task can be asked."""
    if isinstance(task, KnowledgeTask) or task.name == TOY17_CLOZE or config.path is None:
        return [language for language in languages if language in task.languages]
    return [language for language in languages if file_of(task, config, language, task.asked) is not None]


def file_of(task: ReadyTask, config: KnowledgeConfig, language: str, split: str) -> Path | None:
    """Return the file of a ready task's split in one language, or None if there is none."""
    folder = Path(config.path or "").expanduser() / task.name / language
    return next((file for ending in ENDINGS if (file := folder / f"{split}{ending}").exists()), None)


def shots_of(task: ReadyTask | KnowledgeTask, config: KnowledgeConfig) -> int | None:
    """Return the number of examples before a question, or None if the YAML of a user's task decides."""
    return config.shots.get(task.name, task.shots if isinstance(task, ReadyTask) else None)


def resolve(context: Context) -> dict[tuple[str, str], Asked]:
    """Commit the questions, and return them by task and language. Raise InputError for invalid files."""
    config = context.experiment.knowledge
    if config is None:
        return {}
    asked: dict[tuple[str, str], Asked] = {}
    for task in tasks_of(config):
        for language in languages_of(task, config, context.experiment.languages):
            if isinstance(task, KnowledgeTask):
                asked[task.name, language] = _resolve_own(context, config, task, language)
            else:
                asked[task.name, language] = _resolve_ready(context, config, task, language)
    return asked


def _resolve_ready(context: Context, config: KnowledgeConfig, task: ReadyTask, language: str) -> Asked:
    shots = shots_of(task, config)
    if task.name != TOY17_CLOZE and config.path is None:
        commit = hub_commit(task.source)
        return Asked(shots, config.per_task, None, key_of(hub=task.source, commit=commit), commit=commit)
    rows = pa.Table.from_pylist(
        read_questions(task, config, language, context.experiment.seed), schema=QUESTIONS.columns
    )
    unit, key = QUESTIONS.unit(task=task.name, language=language), data.source_key(rows)
    if context.store.committed(QUESTIONS).get(unit) != key:
        context.store.commit(unit, key, rows)
    context.data[unit], context.keys[unit] = Input(key, rows.num_rows), key
    count = sum(split == task.asked for split in rows["split"].to_pylist())
    count = count if config.per_task is None else min(count, config.per_task)
    return Asked(shots, config.per_task, count, key)


def hub_commit(source: str) -> str:
    """Return the current commit of a data set on the hub, or that of the cached copy. Raise InputError if unknown."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        commit = HfApi().dataset_info(source).sha
        assert commit is not None
        return commit
    except Exception as error:  # the hub is unreachable or denies access: a cached snapshot names its commit
        cached = try_to_load_from_cache(source, "README.md", repo_type="dataset")
        if isinstance(cached, str):
            return Path(cached).parent.name
        raise InputError(f"knowledge.path: {source} {why_not_on_hub(error)}") from None


def read_questions(task: ReadyTask, config: KnowledgeConfig, language: str, seed: int) -> list[dict[str, Any]]:
    """Return rows of QUESTIONS: the asked ones and their examples. Raise InputError for invalid files."""
    if task.name == TOY17_CLOZE:
        return [
            {"split": task.asked, "document": json.dumps(question, ensure_ascii=False)}
            for question in cloze.questions(seed, language)
        ]
    rows = []
    for split in dict.fromkeys((task.asked, task.examples)):
        file = file_of(task, config, language, split)
        if file is None:
            continue
        for record in records(file):
            try:
                fields = record.fields()
            except ValueError as error:
                raise InputError(f"knowledge.path: {file}:{record.line}: {error}") from None
            if absent := [column for column in task.columns if column not in fields]:
                present = ", ".join(list(fields)[:12])
                rule = f"a question of {task.name} needs {', '.join(absent)} (it has {present})"
                raise InputError(f"knowledge.path: {file}:{record.line}: {rule}")
            rows.append({"split": split, "document": json.dumps(fields, ensure_ascii=False, default=str)})
    return rows


def _resolve_own(context: Context, config: KnowledgeConfig, task: KnowledgeTask, language: str) -> Asked:
    file = yaml_of(task, language)
    files = sorted(path for path in file.parent.rglob("*") if path.is_file())
    key = key_of(files={path.relative_to(file.parent).as_posix(): digest(path) for path in files})
    unit = TASK_FILES.unit(task=task.name, language=language)
    if context.store.committed(TASK_FILES).get(unit) != key:
        context.store.retract(unit)
        context.store.upload(file.parent, unit.folder)
        context.store.commit(unit, key, None)
    # A folder may hold several tasks: other YAML files in it ask other questions.
    asked_by = key_of(folder=key, file=file.name)
    return Asked(shots_of(task, config), config.per_task, None, asked_by, unit.folder, file.name)


def yaml_of(task: KnowledgeTask, language: str) -> Path:
    """Return the YAML file of a user's task in one language."""
    return Path(task.path.replace("{language}", language)).expanduser()


def check(experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
    """Return the problems of the block, without reading all questions."""
    config = experiment.knowledge
    assert config is not None
    problems = []
    unknown = [name for name in config.tasks if isinstance(name, str) and name not in READY]
    for name in unknown:
        rule = f"must be one of {', '.join(READY)}, or {{name: …, path: task.yaml}}"
        problems.append(Problem("knowledge.tasks", name, rule))
    for name in config.shots:
        if name not in config.names:
            problems.append(Problem(f"knowledge.shots.{name}", name, f"must be one of {', '.join(config.names)}"))
    for task in config.tasks:
        if isinstance(task, str):
            problems += [] if task in unknown else _check_ready(READY[task], config, experiment.languages, say)
        else:
            problems += _check_own(task, experiment.languages)
    return problems


def _check_ready(
    task: ReadyTask, config: KnowledgeConfig, languages: list[str], say: Callable[[str], None]
) -> list[Problem]:
    if config.path is not None and task.name != TOY17_CLOZE and not Path(config.path).expanduser().is_dir():
        return [Problem("knowledge.path", config.path, "must be a folder, or null to read from the hub")]
    asked = languages_of(task, config, languages)
    absent = [language for language in languages if language not in asked]
    if not asked:
        wanted = (
            f"{task.name}/{languages[0]}/{task.asked}.parquet" if config.path else f"one of {' '.join(task.languages)}"
        )
        rule = f"{task.name} has no questions in any of the experiment's languages: looked for {wanted}"
        return [Problem("knowledge.path" if config.path else "languages", config.path or languages, rule)]
    if absent:
        say(f"knowledge: {task.name} has no questions in {' '.join(absent)}")
    local = config.path is not None and task.name != TOY17_CLOZE
    for language in asked if local and shots_of(task, config) else ():
        if file_of(task, config, language, task.examples) is None:
            rule = (
                f"{task.name} needs {language}/{task.examples}.parquet (or .jsonl, .csv) for its examples, or shots: 0"
            )
            return [Problem(f"knowledge.shots.{task.name}", shots_of(task, config), rule)]
    return []


def _check_own(task: KnowledgeTask, languages: list[str]) -> list[Problem]:
    if task.name in READY:
        return [Problem("knowledge.tasks", task.name, "is the name of a ready task: choose another name")]
    asked = [language for language in languages if language in task.languages]
    if not asked:
        rule = f"task {task.name} has none of the experiment's languages: set its `languages`"
        return [Problem("knowledge.tasks", task.languages, rule)]
    return [
        Problem("knowledge.tasks", str(yaml_of(task, language)), "must be an existing YAML file of an lm_eval task")
        for language in asked
        if not yaml_of(task, language).is_file()
    ]


def rows_by_shard(asked: Asked, per_unit: int) -> dict[int, tuple[int, int | None]]:
    """Return {shard: (first question, end)}; an end of None means all questions."""
    if asked.rows is None:
        return {0: (0, asked.per_task)}
    first_rows = range(0, asked.rows, per_unit)
    return {shard: (first, min(first + per_unit, asked.rows)) for shard, first in enumerate(first_rows)}


def has_questions(context: Context, name: str, language: str) -> Unit | None:
    """Return the committed questions of a task in one language, or None if workers load them."""
    unit = QUESTIONS.unit(task=name, language=language)
    return unit if unit in context.keys else None
