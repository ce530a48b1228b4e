"""Conventions: choices for cases in which papers, their scripts and sound statistics differ (docs/explain.md).

============================ ================ ================ ================ ==================================
choice                       ``paper``        ``lee2024``      ``yang2025``     ``corrected``
============================ ================ ================ ================ ==================================
probe                        reference        reference        reference        logistic
steps_after_end              count            count            count            skip: a text ends at its end token
pooling_prefix               count            count            count            skip: a begin token's state is large
choose                       positive         all              all              positive-ci: not by chance
rank_per_layer               no limit         100              1,000            no limit
overlap                      half             half             half             dice
shift_positions              all              all              all              last: of the prompt, no padding
============================ ================ ================ ================ ==================================

``paper`` is Li, Yong and Bach (2024), ``lee2024`` Lee et al. (2024), ``yang2025`` Yang et al. (2025).
"""

from dataclasses import dataclass, replace
from typing import Literal

from detox_ray.config.explain import ExplainConfig
from detox_ray.explain.probe import Method

SWITCHES = ("steps_after_end", "pooling_prefix", "choose", "rank_per_layer", "overlap", "shift_positions")


@dataclass(frozen=True)
class ExplainConvention:
    """A named set of choices for the explain stage."""

    name: str  # includes the switches that differ from the convention
    probe: Method
    steps_after_end: Literal["count", "skip"]  # generation steps after the end token
    pooling_prefix: Literal["count", "skip"]  # tokens that the tokenizer puts before a text, in mean states
    choose: Literal[
        "positive", "positive-ci", "all"
    ]  # which candidates are sources, by their mean activation in English
    rank_per_layer: int | None  # maximum number of candidates in a layer
    overlap: Literal["dice", "half"]  # subword overlap of equal texts: 1 (dice) or 1/2 (half)
    shift_positions: Literal["last", "all"]  # of the residual shift: a prompt's last token, or all tokens and padding


PAPER = ExplainConvention("paper", "reference", "count", "count", "positive", None, "half", "all")
LEE = ExplainConvention("lee2024", "reference", "count", "count", "all", 100, "half", "all")
YANG = ExplainConvention("yang2025", "reference", "count", "count", "all", 1000, "half", "all")
CORRECTED = ExplainConvention("corrected", "logistic", "skip", "skip", "positive-ci", None, "dice", "last")
CONVENTIONS = {convention.name: convention for convention in (PAPER, LEE, YANG, CORRECTED)}


def chosen(config: ExplainConfig) -> ExplainConvention:
    """Return the convention that the block names, changed by the block's switches; its name lists the changes."""
    convention = CONVENTIONS[config.convention]
    changed = {
        switch: value
        for switch in SWITCHES
        if (value := getattr(config, switch)) is not None and value != getattr(convention, switch)
    }
    label = "".join(f"+{switch}={value}" for switch, value in changed.items())
    probe = config.probe.method or convention.probe
    return replace(convention, name=convention.name + label, probe=probe, **changed)
