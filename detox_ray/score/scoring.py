"""The scoring stages: the scores of completions and of human-labelled text.

A unit holds the scores of one unit of texts by one scorer: a row for each text and attribute, with a status and, if
that is "ok", a value (cached_scorer.py). The units of derived scorers are made from those of their members
(derived_scorers.py), all others from texts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import TOY17, Experiment, Problem
from detox_ray.score.cached_scorer import CachedScorer, score_rows
from detox_ray.score.derived_scorers import DerivedWorker
from detox_ray.score.registry import check, resolve
from detox_ray.score.scorer_variant import ResolvedScorer
from detox_ray.storage import TABLES, Store, Table, Unit
from detox_ray.storage.tables import GENERATIONS, LABELLED, LABELLED_SCORES, SCORES


class _Scoring(Stage):
    """A stage that scores the texts of one table with every scorer."""

    command, title = "score", "score"
    version = 3  # raise it, too, when the code that all scorers share changes what a unit holds
    measure = "texts"

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        (source,), (target,) = self.needs, self.writes
        planned: dict[Unit, Planned] = {}
        for scorer in scorers_of(context):
            for texts in context.units(source):
                members = tuple(_unit(target, member, texts) for member in scorer.members)
                planned[_unit(target, scorer, texts)] = Planned(members or (texts,), {"scorer": scorer.key})
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        config, jobs = context.experiment.score, []
        for scorer in scorers_of(context):
            mine = [task for task in tasks if task.unit["scorer"] == scorer.name]
            settings: dict[str, Any] = {"scorer": scorer, "store": context.store}
            if scorer.members:
                job = Job(scorer.name, mine, DerivedWorker, settings, self.measure, config.actors, gpus=0)
            else:
                settings["batch_tokens"] = config.batch_tokens
                gpus = int(scorer.model_based)
                job = Job(scorer.name, mine, ScoringWorker, settings, self.measure, config.actors, gpus, scorer.alone)
            jobs.append(job)
        return jobs


class ScoreStage(_Scoring):
    """The stage that scores every completion with every scorer."""

    name = "scores"
    summary = "the scores of every completion by every scorer"
    needs = (GENERATIONS,)
    writes = (SCORES,)

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return check(experiment.score, say)

    def resolve(self, context: Context) -> list[ResolvedScorer]:
        """Resolve the scorers, in the experiment's order."""
        world = TOY17 if context.experiment.uses_toy17 else None
        scorers: dict[str, ResolvedScorer] = {}
        for entry, name in zip(context.experiment.score.scorers, context.experiment.score.names, strict=True):
            scorers[name] = resolve(entry, world, context.store, scorers)
            known = scorers[name].languages
            context.supported[name] = list(context.experiment.languages if known is None else known)
            context.notes.extend(scorers[name].notes)
        return list(scorers.values())

    def costs(self, work: Workload) -> list[Cost]:
        """Return the costs of scoring completions and labelled text."""
        texts = work.completions + work.labelled
        return [cost for name in work.experiment.score.names for cost in work.scoring(name, texts)]


class LabelledScoreStage(_Scoring):
    """The stage that scores human-labelled text, to measure the scorers' validity."""

    name = "labelled_scores"
    summary = "the scores of human-labelled text"
    needs = (LABELLED,)
    writes = (LABELLED_SCORES,)


def scorers_of(context: Context) -> list[ResolvedScorer]:
    """Return the experiment's scorers, in its order."""
    scorers: list[ResolvedScorer] = context.resolved[ScoreStage.name]
    return scorers


def _unit(target: Table, scorer: ResolvedScorer, texts: Unit) -> Unit:
    return target.unit(scorer=scorer.name, **dict(texts.keys), shard=texts.shard)


class ScoringWorker:
    """A worker with one scorer. Each call scores one unit of texts."""

    def __init__(self, scorer: ResolvedScorer, batch_tokens: int, store: Store):
        self._store, self._scorer = store, CachedScorer(scorer, batch_tokens, store)

    def make(self, task: Task) -> Product:
        ((unit, key),) = task.inputs
        rows = self._store.read(unit, key)
        scored = self._scorer.score(rows["text"].to_pylist(), unit["language"], task.key)
        table = score_rows(TABLES[task.unit.table], rows, scored.values, scored.statuses)
        return Product(table, scored.info, rows.num_rows)
