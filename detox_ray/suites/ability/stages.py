"""The stages of the block `ability`: those of other completions, with tables of their own.

Only the tables differ, so an identifier or evaluator is loaded once for both kinds of completions.
"""

from collections.abc import Callable, Sequence

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Section
from detox_ray.config import Experiment, FluencyConfig, GenerateConfig, Problem
from detox_ray.generate import GenerateStage
from detox_ray.measure.ability import SPECS
from detox_ray.score.diversity import DiversityStage
from detox_ray.score.fluency import FluencyStage
from detox_ray.score.identify import IdentificationStage
from detox_ray.storage.completion_tables import ABILITY
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.suites.ability.section import section

TOKENS_OF_AN_OPENING = 12.0  # assumed by `detox-ray plan`


class AbilityGenerateStage(GenerateStage):
    """The stage that generates every model's greedy completion of every harmless prompt."""

    name, title = "ability_generations", "ability"
    summary = "every model's greedy completions of harmless text"
    needs = (ABILITY.prompts, CHECKPOINTS)
    writes = (ABILITY.generations,)
    tables = ABILITY

    def sampling(self, experiment: Experiment) -> GenerateConfig:
        ability, generate = experiment.ability, experiment.generate
        return generate if ability is None else generate.greedy(ability.max_tokens)

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return []  # GenerateStage checks the engine

    def metrics(self) -> Sequence[MetricSpec]:
        return SPECS

    def section(self, context: Context) -> Section | None:
        return None if context.experiment.ability is None else section(context)

    def costs(self, work: Workload) -> list[Cost]:
        ability = work.experiment.ability
        if ability is None:
            return []
        ground = f"{work.counted}; {TOKENS_OF_AN_OPENING:g} tokens per opening: assumed"
        count, tokens, new = work.openings, TOKENS_OF_AN_OPENING, ability.max_tokens
        return [
            work.completing(self.command, f"ability of {model}", model, count, tokens, new, ground)
            for model in work.experiment.models
        ]


class AbilityIdentificationStage(IdentificationStage):
    """The stage that identifies the language of each of these completions."""

    name, title = "ability_identifications", "ability: languages"
    needs = (ABILITY.generations,)
    writes = (ABILITY.identifications,)
    tables = ABILITY

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        return []  # IdentificationStage checks the files


class AbilityDiversityStage(DiversityStage):
    """The stage that counts each completion's words that are not in its prompt."""

    name, title = "ability_diversities", "ability: novelty"
    needs = (ABILITY.generations, ABILITY.prompts)
    writes = (ABILITY.diversities,)
    tables = ABILITY

    def costs(self, work: Workload) -> list[Cost]:
        return []  # it takes seconds


class AbilityFluencyStage(FluencyStage):
    """The stage that measures the likelihood of these completions under the evaluators."""

    name, title = "ability_fluencies", "ability: fluency"
    needs = (ABILITY.generations, ABILITY.prompts, CHECKPOINTS)
    writes = (ABILITY.fluencies,)
    tables = ABILITY

    def chosen(self, experiment: Experiment) -> list[FluencyConfig]:
        ability = experiment.ability
        if ability is None:
            return []
        evaluators = experiment.quality.fluency
        return [evaluator for evaluator in evaluators if ability.fluency is None or evaluator.name in ability.fluency]

    def costs(self, work: Workload) -> list[Cost]:
        return []
