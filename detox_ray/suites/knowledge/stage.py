"""The knowledge stage: every model answers the questions of every task in every language."""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Task
from detox_ray.config import Experiment, Problem
from detox_ray.storage import Unit
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.suites.knowledge import plan
from detox_ray.suites.knowledge.catalogue import ReadyTask
from detox_ray.suites.knowledge.metrics import SPECS
from detox_ray.suites.knowledge.plan import Asked
from detox_ray.suites.knowledge.tables import ANSWERS

INSTALL = "needs lm_eval 0.4.13: run `make setup`, or pip install lm_eval==0.4.13"


class KnowledgeStage(Stage):
    """The stage that asks each model lm_eval's questions. Without a ``knowledge`` block it has no units."""

    name, command, title = "knowledge", "score", "knowledge"
    version = 2  # also raise it if models/codec.py or models/causal_model.py change the content of a unit
    summary = "every model's answers to knowledge questions"
    measure = "questions"
    needs = (CHECKPOINTS,)
    writes = (ANSWERS,)

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        if experiment.knowledge is None:
            return []
        if find_spec("lm_eval") is None:
            return [Problem("knowledge", experiment.knowledge.names, INSTALL)]
        return plan.check(experiment, say)

    def resolve(self, context: Context) -> dict[tuple[str, str], Asked]:
        return plan.resolve(context)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        config = context.experiment.knowledge
        planned: dict[Unit, Planned] = {}
        if config is None:
            return planned
        asked: dict[tuple[str, str], Asked] = context.resolved[self.name]
        version = metadata.version("lm_eval")
        for name, model in context.models.items():
            for (task, language), questions in asked.items():
                source = plan.has_questions(context, task, language)
                for shard, rows in plan.rows_by_shard(questions, config.questions_per_unit).items():
                    settings = {
                        "dtype": model.dtype,
                        "questions": questions.key,
                        "rows": list(rows),
                        "shots": questions.shots,
                        "lm_eval": version,
                    }
                    unit = ANSWERS.unit(task=task, model=name, language=language, shard=shard)
                    planned[unit] = context.of_model(name, *([source] if source else []), **settings)
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        from detox_ray.suites.knowledge.worker import KnowledgeWorker

        config, score = context.experiment.knowledge, context.experiment.score
        assert config is not None
        jobs = []
        for name, model in context.models.items():
            settings = {
                "model": model,
                "asked": context.resolved[self.name],
                "batch_tokens": score.batch_tokens,
                "per_unit": config.questions_per_unit,
                "store": context.store,
            }
            of_model = [task for task in tasks if task.unit["model"] == name]
            jobs.append(Job(f"knowledge {name}", of_model, KnowledgeWorker, settings, self.measure, score.actors))
        return jobs

    def metrics(self) -> Sequence[MetricSpec]:
        return SPECS

    def costs(self, work: Workload) -> list[Cost]:
        config = work.experiment.knowledge
        return (
            []
            if config is None
            else [self._cost(work, task) for task in plan.tasks_of(config) if isinstance(task, ReadyTask)]
        )

    def _cost(self, work: Workload, task: ReadyTask) -> Cost:
        """Estimate the cost of a ready task; users' tasks are unknown before they are loaded."""
        config, models = work.experiment.knowledge, list(work.experiment.models)
        assert config is not None
        languages = len(plan.languages_of(task, config, work.experiment.languages))
        count = task.questions if config.per_task is None else min(config.per_task, task.questions)
        length = task.tokens * (1 + (plan.shots_of(task, config) or 0))
        tokens = count * languages * length * task.options
        operations = sum(tokens * work.forward(model, length) for model in models)
        how = (
            f"{count:,} questions in {languages} languages by {len(models)} models, {length:g} tokens with examples, "
            f"read {task.options:g} times: published sizes, assumed lengths"
        )
        return work.computed(self.command, f"knowledge: {task.title}", tokens * len(models), operations, how)
