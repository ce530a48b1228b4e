"""What all units of the stage share. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from detox_ray.config.explain import ExplainConfig
from detox_ray.explain import conventions
from detox_ray.measure.resampling import Resampling
from detox_ray.models.neurons import Neuron


@dataclass(frozen=True)
class Settings:
    """What all units of the stage share."""

    config: ExplainConfig
    resampling: Resampling
    sentences: Mapping[str, list[str]]  # parallel, by language
    insults: Mapping[str, tuple[str, ...]]  # by language
    given: tuple[Neuron, ...] | None  # sources that the user gives; None: they are chosen among the candidates
    stored: tuple[float, ...] | None  # weights of a stored probe

    @property
    def convention(self) -> conventions.ExplainConvention:
        return conventions.chosen(self.config)

    @property
    def choose(self) -> str:
        """Return how sources are chosen among the candidates: all of those that the user gives."""
        return self.convention.choose if self.given is None else "all"
