"""Exact attribution of a change in one direction to neurons, and the groups of Yang et al.

A neuron with mean activation m, whose value vector has projection a on the unit direction, writes m·a. From the parent
(m, a) to the tuned model (m', a') this changes by

    m'a' - ma = (m' - m)a + m(a' - a) + (m' - m)(a' - a)
                activation  value       interaction

Summed over a layer, this is the change of the MLP's output along the direction, apart from the bias.

The groups (Yang et al. 2025, arXiv 2411.06424) hold the neurons whose activation part falls. T: the value vector points
along the probe; A: against it. P: the activation before tuning is at least 0; N: it is below 0. The sign says whether
the activation gets weaker (-) or stronger (+); in each group, this change is the one that writes less toxicity.

Shapes: N neurons of a layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GROUPS = ("TP-", "TN+", "AP+", "AN-")
REST = ""  # the group of all other neurons: they write as much as before, or more


class Contributions(NamedTuple):
    """The parts of the change of a layer's neurons, each (N,)."""

    activation: Floats
    value: Floats
    interaction: Floats

    @property
    def total(self) -> Floats:
        """Return the whole change."""
        total: Floats = self.activation + self.value + self.interaction
        return total


def contributions(before_m: Floats, before_a: Floats, after_m: Floats, after_a: Floats) -> Contributions:
    """Split each neuron's change into its parts.

    Args:
        before_m: mean activations (N,) before tuning.
        before_a: projections (N,) before tuning.
        after_m: mean activations (N,) after tuning, on the same text.
        after_a: projections (N,) after tuning.
    """
    change_m, change_a = after_m - before_m, after_a - before_a
    return Contributions(change_m * before_a, before_m * change_a, change_m * change_a)


def groups(before_m: Floats, before_a: Floats, activation_part: Floats) -> NDArray[np.str_]:
    """Return each neuron's group (N,); `REST` if its activation part does not fall."""
    towards, active, falls = before_a > 0, before_m >= 0, activation_part < 0
    chosen = np.select([falls & towards & active, falls & towards, falls & active, falls], list(GROUPS), default=REST)
    return chosen.astype(np.str_)


class Summary(NamedTuple):
    """A summary of the change over all layers."""

    net: float
    group_parts: dict[str, float]  # group -> its activation part
    group_sizes: dict[str, int]
    counteracting: float  # sum of the neurons' changes that go against the net change
    neurons_for: dict[int, int | None]  # percent of the net change -> fewest neurons that add up to it


def summary(layers: Sequence[Contributions], of_group: Sequence[NDArray[np.str_]]) -> Summary:
    """Summarize the contributions of all layers, given each layer's groups."""
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
