"""The validated description of an experiment. Every default of a user's option lives in this package only."""

from detox_ray.config.base import TOY17, TOY17_CONTEXT, ConfigError, InputError, Problem, Strict
from detox_ray.config.data import (
    CorpusConfig,
    DataConfig,
    PairsConfig,
    PromptsConfig,
    TextsConfig,
    ValidityConfig,
)
from detox_ray.config.experiment import Comparison, Experiment, GenerateConfig, ModelConfig
from detox_ray.config.measures import FluencyConfig, MeasureConfig, QualityConfig, ReportConfig
from detox_ray.config.scorers import (
    CalibratedConfig,
    ClassifierConfig,
    DetoxifyConfig,
    EnsembleConfig,
    GuardConfig,
    LexiconConfig,
    OutputConfig,
    PerspectiveConfig,
    ScoreConfig,
    ScorerConfig,
    StoredConfig,
)
from detox_ray.config.serve import EngineConfig, LimitsConfig, ReplicasConfig, ScoringConfig, ServeConfig
from detox_ray.config.train import LoraConfig, TrainConfig
from detox_ray.config.variants import Variant

__all__ = [
    "TOY17",
    "TOY17_CONTEXT",
    "CalibratedConfig",
    "ClassifierConfig",
    "Comparison",
    "ConfigError",
    "CorpusConfig",
    "DataConfig",
    "DetoxifyConfig",
    "EngineConfig",
    "EnsembleConfig",
    "Experiment",
    "FluencyConfig",
    "GenerateConfig",
    "GuardConfig",
    "InputError",
    "LexiconConfig",
    "LimitsConfig",
    "LoraConfig",
    "MeasureConfig",
    "ModelConfig",
    "OutputConfig",
    "PairsConfig",
    "PerspectiveConfig",
    "Problem",
    "PromptsConfig",
    "QualityConfig",
    "ReplicasConfig",
    "ReportConfig",
    "ScoreConfig",
    "ScorerConfig",
    "ScoringConfig",
    "ServeConfig",
    "StoredConfig",
    "Strict",
    "TextsConfig",
    "TrainConfig",
    "ValidityConfig",
    "Variant",
]
