"""The scoring job: a unit is one scorer's view of one unit of completions, or of human-labelled texts (labelled.py).

A row per text and attribute, each with a value or a status (answers.py). A derived scorer's units are made from its
members' (derived.py), any other's from the texts.
"""

from collections.abc import Mapping

from detox_ray.cluster import Cluster
from detox_ray.config import ScoreConfig
from detox_ray.progress import Progress
from detox_ray.score.answers import Answering, score_rows
from detox_ray.score.derived import DerivedWorker
from detox_ray.score.registry import ResolvedScorer
from detox_ray.store import Store, Unit, key_of
from detox_ray.unitjob import Product, Task, run_units

VERSION = 2  # raise it whenever the code here or a scorer's changes what a unit holds


def plan(scorer: ResolvedScorer, generations: Mapping[Unit, str]) -> dict[Unit, str]:
    """Unit -> key, one for each unit of generations."""
    return planned("scores", scorer, generations)


def score(
    scorer: ResolvedScorer,
    pending: Mapping[Unit, str],
    generations: Mapping[Unit, str],
    config: ScoreConfig,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Make and commit ``pending``. ``generations``: unit -> key of all units of generations. A derived scorer's
    members' units must be committed. Raises JobError."""
    run_scoring(f"score {scorer.name}", "scores", scorer, pending, generations, config, store, cluster, progress)


def planned(table: str, scorer: ResolvedScorer, sources: Mapping[Unit, str]) -> dict[Unit, str]:
    """Unit of ``table`` -> key, one for each unit of texts."""
    return {
        Unit(table, (scorer.name, *unit.partition), unit.shard): key_of(source=key, scorer=scorer.key, version=VERSION)
        for unit, key in sources.items()
    }


def run_scoring(
    label: str,
    table: str,
    scorer: ResolvedScorer,
    pending: Mapping[Unit, str],
    sources: Mapping[Unit, str],
    config: ScoreConfig,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Make and commit ``pending`` units of ``table``. ``sources``: unit of texts -> key."""
    tasks = []
    for source, key in sources.items():
        ((unit, unit_key),) = planned(table, scorer, {source: key}).items()
        if unit in pending:
            of_members = tuple(pair for each in scorer.members for pair in planned(table, each, {source: key}).items())
            tasks.append(Task(unit, unit_key, of_members or ((source, key),)))
    if scorer.members:
        run_units(
            label,
            tasks,
            DerivedWorker,
            {"scorer": scorer, "store": store},
            measure="texts",
            actors=config.actors,
            store=store,
            cluster=cluster,
            progress=progress,
        )
        return
    run_units(
        label,
        tasks,
        ScoringWorker,
        {"scorer": scorer, "batch_tokens": config.batch_tokens, "store": store},
        measure="texts",
        actors=config.actors,
        store=store,
        cluster=cluster,
        progress=progress,
    )


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
