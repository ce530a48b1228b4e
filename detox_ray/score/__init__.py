"""Scoring: the toxicity of completions and of human-labelled text, and the fluency, diversity and language of
completions.

Importing this package is cheap: Ray, torch, Detoxify and transformers are imported only when they are used. A package
that adds a type of scorer needs only what is exported here.
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
