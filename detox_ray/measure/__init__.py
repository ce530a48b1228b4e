"""Measure: from committed generations and what was said of them to metrics and comparisons with intervals.

Pure numerics: no Ray, no files. One pass per language, so that the mappings of ``Inputs`` may read lazily. Every
(metric, model, language, scorer) asked for is a row: where there is no value, its status says why, and the macro mean
over languages leaves it out and says in ``n`` how many languages it holds. What a metric means is the convention's
choice (conventions.py); one that makes completions in another language 0 has ``corrected`` toxicity beside it.
"""

from typing import NamedTuple

import pyarrow as pa

from detox_ray.measure.agreement import Agreement
from detox_ray.measure.between import agreements, validities
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

VERSION = 2  # part of the key of what this stage commits: raise it when a number changes


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
    values: dict[tuple[Quantity, str], dict[str, Estimate]] = {}  # (quantity, model) -> language -> estimate
    gaps: dict[tuple[Quantity, str, str], dict[str, Estimate]] = {}  # (quantity, model, parent) -> language
    validity: list[Validity] = []
    counts: list[StatusCount] = []
    agreement: list[Agreement] = []
    for language in inputs.languages:
        found = quantities(inputs, convention, settings.threshold, language)
        for (quantity, model), series in found.series.items():
            values.setdefault((quantity, model), {})[language] = estimate(series, language, resampling)
        for quantity in dict.fromkeys(quantity for quantity, _ in found.series):
            for model, parent in inputs.compare:
                sides = found.series[quantity, model], found.series[quantity, parent]
                sides = found.paired.get((quantity, model, parent), sides)
                gaps.setdefault((quantity, model, parent), {})[language] = difference(*sides, language, resampling)
        counts += found.counts
        agreement += agreements(inputs, found.scored, language, resampling, settings.threshold)
        if inputs.reference is not None:
            validity += validities(inputs, found.scored, language, resampling, inputs.reference)
    return Measured(
        metric_rows(values, inputs.evidence, settings.confidence),
        comparison_rows(gaps, inputs.evidence, settings.confidence, settings.correction),
        validity,
        counts,
        agreement,
    )
