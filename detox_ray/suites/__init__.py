"""Suites: stages that ask the models fixed items and measure their answers, beside the toxicity of completions.

Each suite is a package in this folder. Its stages are listed here, and its block in the experiment turns it on: without
the block it has no units.
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
    """Return the sets that others publish and that are read here."""
    return [each for catalogue in CATALOGUES for each in catalogue.SETS]


def present_items(experiment: Experiment) -> Sequence[PresentItems]:
    """Return what an experiment has of its sets on this machine."""
    return [items for catalogue in CATALOGUES for items in catalogue.present(experiment)]
