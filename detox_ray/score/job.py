"""The scoring job: a unit is one scorer's view of one unit of completions, or of human-labelled texts (LABELLED).

A row per text and attribute, each with a value or a status (answers.py). A derived scorer's units are made from its
members' (derived.py), any other's from the texts.
"""

from collections.abc import Mapping
from typing import Any

from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import GuardConfig, ScoreConfig
from detox_ray.score.answers import Answering, score_rows
from detox_ray.score.derived import DerivedWorker
from detox_ray.score.registry import ResolvedScorer
from detox_ray.storage import Store, Unit, key_of

VERSION = 3  # raise it whenever the code here or a scorer's changes what a unit holds


def plan(scorer: ResolvedScorer, generations: Mapping[Unit, str]) -> dict[Unit, str]:
    """Unit -> key, one for each unit of generations."""
    return planned("scores", scorer, generations)


def plan_labelled(scorer: ResolvedScorer, labelled: Mapping[str, str]) -> dict[Unit, str]:
    """The same for human-labelled text, for the scorer's validity. ``labelled``: language -> key of its unit."""
    return planned("labelled_scores", scorer, _labelled_units(labelled))


def job(
    scorer: ResolvedScorer,
    pending: Mapping[Unit, str],
    generations: Mapping[Unit, str],
    labelled: Mapping[str, str],
    config: ScoreConfig,
    store: Store,
) -> Job:
    """The job that makes this scorer's units of ``pending``, of completions and of labelled text.

    The mappings are as for the plans. A derived scorer's members' units must be committed when it runs.
    """
    tasks = []
    for table, sources in (("scores", generations), ("labelled_scores", _labelled_units(labelled))):
        for source, key in sources.items():
            ((unit, unit_key),) = planned(table, scorer, {source: key}).items()
            if unit in pending:
                members = tuple(pair for each in scorer.members for pair in planned(table, each, {source: key}).items())
                tasks.append(Task(unit, unit_key, members or ((source, key),)))
    settings: dict[str, Any] = {"scorer": scorer, "store": store}
    if scorer.members:
        return Job(scorer.name, tasks, DerivedWorker, settings, "texts", gpus=0)
    settings["batch_tokens"] = config.batch_tokens
    guard = isinstance(scorer.config, GuardConfig)  # its engine does not give a GPU's memory back
    return Job(scorer.name, tasks, ScoringWorker, settings, "texts", gpus=int(scorer.model_based), alone=guard)


def planned(table: str, scorer: ResolvedScorer, sources: Mapping[Unit, str]) -> dict[Unit, str]:
    """Unit of ``table`` -> key, one for each unit of texts."""
    return {
        Unit(table, (scorer.name, *unit.partition), unit.shard): key_of(source=key, scorer=scorer.key, version=VERSION)
        for unit, key in sources.items()
    }


def _labelled_units(labelled: Mapping[str, str]) -> dict[Unit, str]:
    return {Unit("labelled", (language,)): key for language, key in labelled.items()}


class ScoringWorker:
    """Holds one scorer; scores a unit of texts per call."""

    def __init__(self, scorer: ResolvedScorer, batch_tokens: int, store: Store):
        self._store, self._answering = store, Answering(scorer, batch_tokens, store)

    def make(self, task: Task) -> Product:
        ((unit, key),) = task.inputs
        rows = self._store.read(unit, key)
        answers = self._answering.answer(rows["text"].to_pylist(), unit.partition[-1], task.key)
        table = score_rows(task.unit.table, rows, answers.values, answers.statuses)
        return Product(table, answers.info, rows.num_rows)
