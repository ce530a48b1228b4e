"""The stage in which the models answer questions in words. It has no units if no set is answered in words."""

from collections.abc import Callable

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context
from detox_ray.config import Experiment, GenerateConfig, Problem
from detox_ray.generate import GenerateStage
from detox_ray.storage.completion_tables import BIAS_QUESTIONS
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.suites.bias.costs import costs_in_words
from detox_ray.suites.bias.plan import Asked


class BiasAnswerStage(GenerateStage):
    """The stage that generates every model's greedy answer to every question in each prompt."""

    name, title = "bias_answers", "bias: answers"
    summary = "every model's greedy answers to questions about groups"
    needs = (CHECKPOINTS,)
    writes = (BIAS_QUESTIONS.generations,)
    tables = BIAS_QUESTIONS

    def sampling(self, experiment: Experiment) -> GenerateConfig:
        bias, generate = experiment.bias, experiment.generate
        return generate if bias is None else generate.greedy(bias.max_tokens)

    def prompting(self, context: Context) -> dict[str, bool]:
        asked: Asked | None = context.resolved["bias"]
        return {"chat": asked is not None and asked.chat, "whole": True}

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return []  # GenerateStage checks the engine

    def costs(self, work: Workload) -> list[Cost]:
        return [] if work.experiment.bias is None else costs_in_words(work, self.command)
