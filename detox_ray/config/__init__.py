"""The validated description of an experiment.

Every default of a user's option lives in this package, except those of scorers, which live with their types
(`detox_ray.score.variants`).
"""

from detox_ray.config.ability import AbilityConfig, OpeningsConfig
from detox_ray.config.base import TOY17, TOY17_CONTEXT, ConfigError, InputError, Problem, Strict
from detox_ray.config.cluster import ClusterConfig
from detox_ray.config.data import (
    CorpusConfig,
    DataConfig,
    PairsConfig,
    PromptsConfig,
    TextsConfig,
    ValidityConfig,
)
from detox_ray.config.experiment import Comparison, Experiment, ModelConfig
from detox_ray.config.gate import GateConfig
from detox_ray.config.generate import GenerateConfig
from detox_ray.config.knowledge import KnowledgeConfig, KnowledgeTask
from detox_ray.config.measures import FluencyConfig, MeasureConfig, QualityConfig, ReportConfig
from detox_ray.config.scorers import ScoreConfig, ScorerConfig
from detox_ray.config.serve import EngineConfig, LimitsConfig, ReplicasConfig, ScoringConfig, ServeConfig
from detox_ray.config.train import LoraConfig, TrainConfig
from detox_ray.config.variants import Variant

__all__ = [
    "TOY17",
    "TOY17_CONTEXT",
    "AbilityConfig",
    "ClusterConfig",
    "Comparison",
    "ConfigError",
    "CorpusConfig",
    "DataConfig",
    "EngineConfig",
    "Experiment",
    "FluencyConfig",
    "GateConfig",
    "GenerateConfig",
    "InputError",
    "KnowledgeConfig",
    "KnowledgeTask",
    "LimitsConfig",
    "LoraConfig",
    "MeasureConfig",
    "ModelConfig",
    "OpeningsConfig",
    "PairsConfig",
    "Problem",
    "PromptsConfig",
    "QualityConfig",
    "ReplicasConfig",
    "ReportConfig",
    "ScoreConfig",
    "ScorerConfig",
    "ScoringConfig",
    "ServeConfig",
    "Strict",
    "TextsConfig",
    "TrainConfig",
    "ValidityConfig",
    "Variant",
]
