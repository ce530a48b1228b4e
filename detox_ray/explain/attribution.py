"""Exact attribution of a change in one direction to neurons, and the groups of Yang et al.

A neuron's mean activation m and its value vector's projection a on the unit direction give what it writes: m·a. From
the parent (m, a) to the model (m', a') that changes by

    m'a' - ma = (m' - m)a + m(a' - a) + (m' - m)(a' - a)
                activation  value       interaction

Summed over a layer this is the change of the MLP's output along the direction, but for the bias.

Groups (Yang et al. 2025, arXiv 2411.06424) are of neurons whose activation part falls. T: the value vector points
along the probe; A: against it. P, N: the activation before is at least 0, or below. The last sign says that the
activation gets weaker (-) or stronger (+), which in each group is the way in which less toxicity is written.

Shapes: N neurons of a layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GROUPS = ("TP-", "TN+", "AP+", "AN-")
REST = ""  # of neurons that write as much as before, or more


class Contributions(NamedTuple):
    """The change of a layer's neurons, each (N,)."""

    activation: Floats
    value: Floats
    interaction: Floats

    @property
    def total(self) -> Floats:
        """Return the whole change."""
        total: Floats = self.activation + self.value + self.interaction
        return total


def contributions(before_m: Floats, before_a: Floats, after_m: Floats, after_a: Floats) -> Contributions:
    """Split each neuron's change. ``m``: mean activations (N,) on the same text; ``a``: projections (N,)."""
    change_m, change_a = after_m - before_m, after_a - before_a
    return Contributions(change_m * before_a, before_m * change_a, change_m * change_a)


def groups(before_m: Floats, before_a: Floats, activation_part: Floats) -> NDArray[np.str_]:
    """Return each neuron's group (N,); `REST` if its activation part does not fall."""
    towards, active, falls = before_a > 0, before_m >= 0, activation_part < 0
    chosen = np.select([falls & towards & active, falls & towards, falls & active, falls], list(GROUPS), default=REST)
    return chosen.astype(np.str_)


class Summary(NamedTuple):
    """A change of all layers in short."""

    net: float
    group_parts: dict[str, float]  # group -> its activation part
    group_sizes: dict[str, int]
    counteracting: float  # sum of what writes more than before, against the net fall
    neurons_for: dict[int, int | None]  # percent of the net -> fewest neurons, ranked by their own change


def summary(layers: Sequence[Contributions], of_group: Sequence[NDArray[np.str_]]) -> Summary:
    """Return the groups, the counteracting part and how many neurons it takes."""
    activation = np.concatenate([layer.activation for layer in layers])
    total = np.concatenate([layer.total for layer in layers])
    group = np.concatenate(list(of_group))
    net = float(total.sum())
    towards = np.sort(total * np.sign(net))[::-1].cumsum()  # ranked by what each adds to the net change
    needed: dict[int, int | None] = {}
    for percent in (50, 75, 99):
        reached = np.flatnonzero(towards >= abs(net) * percent / 100)
        needed[percent] = int(reached[0]) + 1 if net and len(reached) else None
    return Summary(
        net,
        {name: float(activation[group == name].sum()) for name in GROUPS},
        {name: int((group == name).sum()) for name in GROUPS},
        float(total[total * np.sign(net) < 0].sum()),
        needed,
    )
