"""Scoring: what scorers say of completions and of human-labelled text, and how fluent, diverse and in which language
completions are.

Light on import: Ray, torch, Detoxify and transformers are imported only where they are used.
"""

from detox_ray.cluster.stage import Stage
from detox_ray.score.catalogue import KNOWN, Entry, catalogue
from detox_ray.score.check import check
from detox_ray.score.diversity import WORDS, DiversityStage
from detox_ray.score.fluency import FluencyStage, evaluator_of
from detox_ray.score.identify import IdentificationStage
from detox_ray.score.likelihood import LikelihoodStage
from detox_ray.score.registry import ResolvedScorer, load, resolve
from detox_ray.score.scoring import LabelledScoreStage, ScoreStage, scorers_of

STAGES: tuple[type[Stage], ...] = (
    ScoreStage,
    LabelledScoreStage,
    IdentificationStage,
    DiversityStage,
    FluencyStage,
    LikelihoodStage,
)

__all__ = [
    "KNOWN",
    "STAGES",
    "WORDS",
    "Entry",
    "LabelledScoreStage",
    "ResolvedScorer",
    "ScoreStage",
    "catalogue",
    "check",
    "evaluator_of",
    "load",
    "resolve",
    "scorers_of",
]
