"""The ability suite: language ability on harmless text, by the same jobs as for completions of toxicity prompts."""

from detox_ray.cluster.stage import Stage
from detox_ray.suites.ability.stages import (
    AbilityDiversityStage,
    AbilityFluencyStage,
    AbilityGenerateStage,
    AbilityIdentificationStage,
)

STAGES: tuple[type[Stage], ...] = (
    AbilityGenerateStage,
    AbilityIdentificationStage,
    AbilityDiversityStage,
    AbilityFluencyStage,
)
