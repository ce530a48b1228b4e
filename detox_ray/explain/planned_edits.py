"""The edits that the explain stage makes, one unit of INTERVENTIONS each. Imports no torch."""

from typing import NamedTuple

from detox_ray.config.explain import ExplainConfig
from detox_ray.explain.tables import NONE, OFFSET


class PlannedEdit(NamedTuple):
    """An edit of one model; the fields are columns of INTERVENTIONS."""

    intervention: str  # NONE, OFFSET, or the direction of a transplant
    amount: float = 0.0  # dose of an offset, or number of neurons of a transplant
    draw: int = 0  # 0: the chosen neurons; 1 and higher: a matched draw

    @property
    def name(self) -> str:
        """Return the value of the key ``edit``."""
        return NONE if self.intervention == NONE else f"{self.intervention}_{self.amount:g}_{self.draw}"


UNTOUCHED = PlannedEdit(NONE)


def offset_edits(config: ExplainConfig) -> list[PlannedEdit]:
    """Return the offsets: each dose, for the sources and for every matched draw."""
    doses = () if config.offsets is None else tuple(dose for dose in config.offsets.doses if dose)
    return [PlannedEdit(OFFSET, dose, draw) for dose in doses for draw in range(config.random + 1)]


def transplant_edits(config: ExplainConfig) -> list[PlannedEdit]:
    """Return each size of both the most changed neurons and every matched draw, in each direction.

    Edits of the tuned model come first: in vLLM a worker holds one engine at a time.
    """
    if config.transplants is None:
        return []
    return [
        PlannedEdit(direction, float(size), draw)
        for direction in sorted(config.transplants.directions)
        for size in config.transplants.sizes
        for draw in range(config.random + 1)
    ]
