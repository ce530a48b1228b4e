"""Scoring: what scorers say of completions and of human-labelled text, and how fluent, diverse and in which language
completions are.

Light on import: Ray, torch, Detoxify and transformers are imported only where they are used. A type of scorer of
another package needs no more than what is exported here.
"""

from detox_ray.cluster.stage import Stage
from detox_ray.score.diversity import DiversityStage
from detox_ray.score.fluency import FluencyStage
from detox_ray.score.identify import IdentificationStage
from detox_ray.score.likelihood import LikelihoodStage
from detox_ray.score.registry import check, definition_of, load, ready_scorers, resolve
from detox_ray.score.scorer_variant import (
    Combination,
    ReadyScorer,
    ResolvedScorer,
    ScorerVariant,
    ScoringWork,
)
from detox_ray.score.scorers import Failure, Scorer, Scores, ServiceDown
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
    "STAGES",
    "Combination",
    "Failure",
    "ReadyScorer",
    "ResolvedScorer",
    "Scorer",
    "ScorerVariant",
    "Scores",
    "ScoringWork",
    "ServiceDown",
    "check",
    "definition_of",
    "load",
    "ready_scorers",
    "resolve",
    "scorers_of",
]
