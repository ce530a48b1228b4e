"""Suites: stages that ask the models fixed items and measure their answers, beside the toxicity of completions.

Each suite is a package of this room with a stage, which is listed here, and has a block of its own in the experiment,
without which it has no units.
"""

from detox_ray.cluster.stage import Stage
from detox_ray.suites import ability
from detox_ray.suites.knowledge.stage import KnowledgeStage

STAGES: tuple[type[Stage], ...] = (*ability.STAGES, KnowledgeStage)
