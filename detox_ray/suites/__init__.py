"""Suites: stages that measure models on fixed items, in addition to the toxicity of completions.

Each suite is a package in this folder. Its stages are listed here. Without its block in the experiment, a suite has no
units.
"""

from collections.abc import Sequence

from detox_ray.cluster.stage import Stage
from detox_ray.config import Experiment
from detox_ray.suites import ability
from detox_ray.suites.bias import catalogue as bias
from detox_ray.suites.bias.answers import BiasAnswerStage
from detox_ray.suites.bias.stage import BiasStage
from detox_ray.suites.catalogue import PresentItems, PublishedSet
from detox_ray.suites.knowledge import listing as knowledge
from detox_ray.suites.knowledge.stage import KnowledgeStage

__all__ = ["STAGES", "PresentItems", "PublishedSet", "present_items", "published_sets"]

STAGES: tuple[type[Stage], ...] = (BiasAnswerStage, BiasStage, *ability.STAGES, KnowledgeStage)
CATALOGUES = (bias, knowledge)


def published_sets() -> Sequence[PublishedSet]:
    """Return the published sets that the suites can read."""
    return [published for catalogue in CATALOGUES for published in catalogue.SETS]


def present_items(experiment: Experiment) -> Sequence[PresentItems]:
    """Return the items of an experiment's sets that are on this machine."""
    return [items for catalogue in CATALOGUES for items in catalogue.present(experiment)]
