"""The settings that all units of the explain stage share. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from detox_ray.config.explain import ExplainConfig
from detox_ray.explain import conventions
from detox_ray.measure.resampling import Resampling
from detox_ray.models.neurons import Neuron


@dataclass(frozen=True)
class Settings:
    """The settings that all units of the stage share."""

    config: ExplainConfig
    resampling: Resampling
    sentences: Mapping[str, list[str]]  # language -> parallel sentences
    insults: Mapping[str, tuple[str, ...]]  # language -> insults
    given: tuple[Neuron, ...] | None  # sources given by the user; None: sources are chosen among the candidates
    stored: tuple[float, ...] | None  # weights of a stored probe

    @property
    def convention(self) -> conventions.ExplainConvention:
        return conventions.chosen(self.config)

    @property
    def choose(self) -> str:
        """Return how sources are chosen among the candidates; "all" if the user gives them."""
        return self.convention.choose if self.given is None else "all"
