"""Conventions: what is computed if papers, their scripts and good statistics differ (docs/explain.md lists sources).

============================ ================ ================ ================ ==================================
choice                       ``paper``        ``lee2024``      ``yang2025``     ``corrected``
============================ ================ ================ ================ ==================================
probe                        reference        reference        reference        logistic
steps_after_end              count            count            count            skip: a text ends at its end token
pooling_prefix               count            count            count            skip: a begin token's state is huge
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
    """One choice for each question."""

    name: str  # with the switches that change it
    probe: Method
    steps_after_end: Literal["count", "skip"]  # steps of a generation after its end token
    pooling_prefix: Literal["count", "skip"]  # what a tokenizer puts before a text, in means over its tokens
    choose: Literal[
        "positive", "positive-ci", "all"
    ]  # candidates that are sources: by their mean activation in English
    rank_per_layer: int | None  # candidates of a layer at most
    overlap: Literal["dice", "half"]  # shared subwords: 1, or 1/2, for equal texts
    shift_positions: Literal["last", "all"]  # of the residual shift: a prompt's last token, or padding and all tokens


PAPER = ExplainConvention("paper", "reference", "count", "count", "positive", None, "half", "all")
LEE = ExplainConvention("lee2024", "reference", "count", "count", "all", 100, "half", "all")
YANG = ExplainConvention("yang2025", "reference", "count", "count", "all", 1000, "half", "all")
CORRECTED = ExplainConvention("corrected", "logistic", "skip", "skip", "positive-ci", None, "dice", "last")
CONVENTIONS = {convention.name: convention for convention in (PAPER, LEE, YANG, CORRECTED)}


def chosen(config: ExplainConfig) -> ExplainConvention:
    """Return the block's convention with its switches; the name says which of them change it."""
    convention = CONVENTIONS[config.convention]
    changed = {
        switch: value
        for switch in SWITCHES
        if (value := getattr(config, switch)) is not None and value != getattr(convention, switch)
    }
    label = "".join(f"+{switch}={value}" for switch, value in changed.items())
    probe = config.probe.method or convention.probe
    return replace(convention, name=convention.name + label, probe=probe, **changed)
