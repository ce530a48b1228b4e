"""Measure: from committed generations and what was said of them to metrics and comparisons with intervals.

Pure numerics: no Ray, no files. One pass per language, so that the mappings of ``Inputs`` may read lazily. Every
(metric, model, language, scorer) asked for is a row: where there is no value, its status says why, and the macro mean
over languages leaves it out and says in ``n`` how many languages it holds. What a metric means is the convention's
choice (conventions.py); one that makes completions in another language 0 has ``corrected`` toxicity beside it. Models
that differ in their seed only are also measured as one, under their group's name (groups.py).
"""

from typing import NamedTuple

import pyarrow as pa

from detox_ray.measure.agreement import Agreement
from detox_ray.measure.between import agreements, validities
from detox_ray.measure.groups import compared, mean_difference, mean_value
from detox_ray.measure.inputs import Inputs, Settings
from detox_ray.measure.quantities import Quantity, StatusCount, quantities
from detox_ray.measure.rows import comparison_rows, metric_rows
from detox_ray.measure.statistics import INTERVAL, INTERVALS, Estimate, difference, estimate
from detox_ray.measure.validity import Validity

__all__ = [
    "INTERVAL",
    "INTERVALS",
    "VERSION",
    "Agreement",
    "Inputs",
    "Measured",
    "Settings",
    "StatusCount",
    "Validity",
    "measure",
]

VERSION = 4  # part of the key of what this stage commits: raise it when a number changes


class Measured(NamedTuple):
    metrics: pa.Table  # METRICS
    comparisons: pa.Table  # COMPARISONS
    validity: list[Validity]  # of each scorer against the reference scorer, on completions
    counts: list[StatusCount]
    agreement: list[Agreement]  # of each pair of scorers, on completions


def measure(inputs: Inputs, settings: Settings) -> Measured:
    """Every metric and comparison of an experiment, per language and macro.

    Raises:
        ValueError: the settings name no known convention or choice.
    """
    convention, resampling = settings.choose(), settings.resampling
    together = compared(inputs)  # groups of seeds with a parent
    sizes = {label: len(models) for label, models in inputs.seed_groups.items()}
    values: dict[tuple[Quantity, str], dict[str, Estimate]] = {}  # (quantity, model) -> language -> estimate
    gaps: dict[tuple[Quantity, str, str], dict[str, Estimate]] = {}  # (quantity, model, parent) -> language
    validity: list[Validity] = []
    counts: list[StatusCount] = []
    agreement: list[Agreement] = []
    for language in inputs.languages:
        found = quantities(inputs, convention, settings.threshold, language)
        for quantity in found.asked:
            for model in inputs.models:
                made = estimate(found.series[quantity, model], language, resampling)
                values.setdefault((quantity, model), {})[language] = made
            for label, models in inputs.seed_groups.items():
                own = [values[quantity, model][language] for model in models]
                mean = mean_value([found.series[quantity, model] for model in models], own, language, resampling)
                values.setdefault((quantity, label), {})[language] = mean
        for quantity in found.compared:
            for model, parent in inputs.compare:
                gap = difference(*found.sides(quantity, model, parent), language, resampling)
                gaps.setdefault((quantity, model, parent), {})[language] = gap
            for label, parent in together:
                models = inputs.seed_groups[label]
                own = [gaps[quantity, model, parent][language] for model in models]
                sides = [found.sides(quantity, model, parent) for model in models]
                gaps.setdefault((quantity, label, parent), {})[language] = mean_difference(
                    sides, own, language, resampling
                )
        counts += found.counts
        agreement += agreements(inputs, found.scored, language, resampling, settings.threshold)
        if inputs.reference is not None:
            validity += validities(inputs, found.scored, language, resampling, inputs.reference)
    return Measured(
        metric_rows(values, sizes, inputs.evidence, settings.confidence),
        comparison_rows(gaps, sizes, inputs.evidence, settings.confidence, settings.correction),
        validity,
        counts,
        agreement,
    )
