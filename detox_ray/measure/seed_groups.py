"""Models that differ only in their seed, treated as one: means over them, and their comparisons.

The papers report such means (Li et al. 2024, Figure 1: five seeds). A prompt counts if any seed has a value for it, and
all seeds share the drawn prompts.
"""

from collections.abc import Sequence

from detox_ray.measure.inputs import Inputs
from detox_ray.measure.series import Series, common
from detox_ray.measure.statistics import IntervalEstimate, Resampling, difference, estimate, seeds
from detox_ray.storage.tables import OK


def compared(inputs: Inputs) -> list[tuple[str, str]]:
    """Return (group, parent) for each parent with which all models of the group are compared."""
    pairs = set(inputs.compare)
    parents = list(dict.fromkeys(parent for _, parent in inputs.compare))
    return [
        (label, parent)
        for label, models in inputs.seed_groups.items()
        for parent in parents
        if all((model, parent) in pairs for model in models)
    ]


def mean_value(
    series: Sequence[Series], estimates: Sequence[IntervalEstimate], language: str, resampling: Resampling
) -> IntervalEstimate:
    """Return the mean of a quantity over seeds. ``estimates`` are those of the seeds' series."""
    if _has_all(estimates) and (union := _union([each.clusters for each in series])):
        estimates = [estimate(each.over(union), language, resampling) for each in series]
    return seeds(estimates, resampling)


def mean_difference(
    sides: Sequence[tuple[Series, Series]], estimates: Sequence[IntervalEstimate], language: str, resampling: Resampling
) -> IntervalEstimate:
    """Return the mean over seeds of model minus parent. ``estimates`` are the differences of the seeds."""
    if _has_all(estimates):
        pairs = [common(model, parent) for model, parent in sides]
        if union := _union([model.clusters for model, _ in pairs]):
            estimates = [difference(a.over(union), b.over(union), language, resampling) for a, b in pairs]
    return seeds(estimates, resampling)


def _has_all(estimates: Sequence[IntervalEstimate]) -> bool:
    return all(each.status == OK for each in estimates)


def _union(clusters: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the sorted union of the seeds' clusters; empty if all seeds have the same clusters."""
    return tuple(sorted(set().union(*clusters))) if len(set(clusters)) > 1 else ()
