"""The bias stage: stereotypes that the models share. Without a ``bias`` block it has no units."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from detox_ray import data
from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Input, Planned, Section, Stage
from detox_ray.cluster.unit_jobs import Job, Task
from detox_ray.config import TOY17, Experiment, Problem
from detox_ray.storage import Unit
from detox_ray.storage.completion_tables import BIAS_QUESTIONS
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.suites.bias import costs
from detox_ray.suites.bias.answer_rules import AnswerRules
from detox_ray.suites.bias.bias_set import forms_of, sets_of
from detox_ray.suites.bias.chat import uses_chat
from detox_ray.suites.bias.checks import check
from detox_ray.suites.bias.conventions import chosen
from detox_ray.suites.bias.metrics import SPECS
from detox_ray.suites.bias.plan import Asked, units
from detox_ray.suites.bias.questions import question_prompts
from detox_ray.suites.bias.section import section
from detox_ray.suites.bias.tables import BIAS_ITEMS, BIAS_OUTCOMES, OPTION_LIKELIHOODS


class BiasStage(Stage):
    """The stage that asks every model the items of every set."""

    name = command = title = "bias"
    version = 2  # also raise it if models/codec.py changes the content of a unit
    summary = "stereotypes that the models share: likelihoods of options, and outcomes by a convention"
    measure = "options"
    needs = (CHECKPOINTS, BIAS_QUESTIONS.generations)
    writes = (OPTION_LIKELIHOODS, BIAS_OUTCOMES)

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return [] if experiment.bias is None else check(experiment, say)

    def resolve(self, context: Context) -> Asked | None:
        """Commit the items, and the prompts for answers in words, and return the items to ask.

        Raises:
            DataError: A set or its rules for answers cannot be read.
        """
        experiment, config = context.experiment, context.experiment.bias
        if config is None:
            return None
        world = context.store.localize(TOY17) if experiment.uses_toy17 else None
        committed = context.store.committed(BIAS_ITEMS) | context.store.committed(BIAS_QUESTIONS.prompts)
        sizes: dict[tuple[str, str], int] = {}
        chat = uses_chat(experiment, {name: model.revision for name, model in context.given.items()})
        rules: dict[str, dict[str, AnswerRules]] = {}
        for bias_set in sets_of(config):
            items = bias_set.read(experiment.languages, world)
            context.notes.extend(items.notes)
            for language, rows in items.rows.items():
                table = pa.Table.from_pylist(rows, schema=BIAS_ITEMS.columns)
                _commit(context, BIAS_ITEMS.unit(set=bias_set.name, language=language), table, committed)
                sizes[bias_set.name, language] = table.num_rows
            if bias_set.in_words(chat):
                rules[bias_set.name] = bias_set.answer_rules(list(items.rows))
                for language, rows in items.rows.items():
                    unit = BIAS_QUESTIONS.prompts.unit(set=bias_set.name, language=language)
                    prompts = question_prompts(rows, rules[bias_set.name][language], bias_set.name)
                    _commit(context, unit, prompts, committed)
        return Asked(chosen(config, experiment.measure.convention), forms_of(config), sizes, rules, chat)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        asked: Asked | None = context.resolved[self.name]
        return {} if asked is None else units(context, asked)

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        from detox_ray.suites.bias.model_worker import BiasModelWorker  # imports torch
        from detox_ray.suites.bias.outcome_worker import OutcomeWorker

        config, asked = context.experiment.bias, context.resolved[self.name]
        assert config is not None
        jobs = []
        for name, model in context.models.items():
            settings = {"model": model, "batch_tokens": config.batch_tokens, "store": context.store}
            mine = [task for task in tasks if task.unit.table == OPTION_LIKELIHOODS.name and task.unit["model"] == name]
            jobs.append(Job(f"bias of {name}", mine, BiasModelWorker, settings, self.measure, config.actors))
        counting = {"asked": asked, "store": context.store}
        outcomes = [task for task in tasks if task.unit.table == BIAS_OUTCOMES.name]
        jobs.append(Job("bias outcomes", outcomes, OutcomeWorker, counting, "rows", config.actors, gpus=0))
        return jobs

    def metrics(self) -> Sequence[MetricSpec]:
        return SPECS

    def costs(self, work: Workload) -> list[Cost]:
        return [] if work.experiment.bias is None else costs.costs(work, self.command)

    def section(self, context: Context) -> Section | None:
        asked: Asked | None = context.resolved[self.name]
        return None if asked is None else section(context, asked)


def _commit(context: Context, unit: Unit, table: pa.Table, committed: Mapping[Unit, str]) -> None:
    """Commit a unit of data, unless its rows are already committed."""
    key = data.source_key(table)
    if committed.get(unit) != key:
        group = context.experiment.generate.prompts_per_unit if unit.table == BIAS_QUESTIONS.prompts.name else None
        context.store.commit(unit, key, table, group=group)
    context.data[unit] = Input(key, table.num_rows)
    context.keys[unit] = key
