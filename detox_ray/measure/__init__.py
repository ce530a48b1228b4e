"""Compute metrics and comparisons, with intervals, from committed completions and their scores.

This package is pure numerics, without Ray or files. It makes one pass per language, so that the mappings of ``Inputs``
can read lazily. Metrics are defined beside their arithmetic (`MetricSpec`): by the families of this package, by any of
its modules with a ``VARIANT``, and by other stages.

The result has a row for every (metric, model, language, scorer) that was asked for. If there is no value, the status
says why. The macro mean leaves such languages out, and its ``n`` says how many it includes. The convention decides what
the metrics of a family mean (conventions.py). If it counts completions in another language as 0, the result also has
the ``corrected`` toxicity. Models that differ only in their seed are also measured together, under their group's name
(seed_groups.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from detox_ray.config.plugins import variants
from detox_ray.measure import ability, consistency, diversity, fluency, perplexity, toxicity
from detox_ray.measure.agreement import ScorerAgreement
from detox_ray.measure.inputs import Inputs, Settings
from detox_ray.measure.parallel import ParallelSeries, Place, difference_over, estimate_over
from detox_ray.measure.quantities import Quantity, StatusCount, quantities
from detox_ray.measure.result_tables import comparison_rows, metric_rows
from detox_ray.measure.scorer_pairs import agreements, validities
from detox_ray.measure.seed_groups import compared, mean_difference, mean_value
from detox_ray.measure.statistics import IntervalEstimate, difference, estimate, seeds
from detox_ray.measure.validity import Validity
from detox_ray.storage.metric_spec import Metrics, MetricSpec

__all__ = [
    "Inputs",
    "Measured",
    "ScorerAgreement",
    "Settings",
    "StatusCount",
    "Validity",
    "measure",
    "specs",
]

FAMILIES = (toxicity.FAMILY, perplexity.FAMILY, fluency.FAMILY, diversity.FAMILY, consistency.FAMILY, ability.FAMILY)


class Measured(NamedTuple):
    """The result of `measure`."""

    metrics: pa.Table  # METRICS
    comparisons: pa.Table  # COMPARISONS
    validity: list[Validity]  # of each scorer against the reference scorer, on completions
    counts: list[StatusCount]
    agreement: list[ScorerAgreement]  # of each pair of scorers, on completions


def specs() -> tuple[MetricSpec, ...]:
    """Return this stage's metrics in order: those of the families, then each ``VARIANT`` here and in other packages.

    The metrics of `ability` belong to the stage that generates its completions.
    """
    return (
        *(spec for family in FAMILIES if family is not ability.FAMILY for spec in family.specs),
        *variants("detox_ray.metrics", "detox_ray.measure").values(),
    )


def measure(inputs: Inputs, settings: Settings, specs: Sequence[MetricSpec]) -> Measured:
    """Compute every metric and comparison of an experiment, per language and macro.

    Args:
        inputs: The tables, and which models to compare.
        settings: The convention and the statistics.
        specs: The metrics of all stages.

    Raises:
        ValueError: The settings name an unknown convention or choice.
    """
    convention, resampling = settings.choose(), settings.resampling
    metrics = Metrics(specs)
    group_parents = compared(inputs)
    sizes = {label: len(models) for label, models in inputs.seed_groups.items()}
    values: dict[tuple[Quantity, str], dict[str, IntervalEstimate]] = {}  # (quantity, model) -> language -> estimate
    gaps: dict[tuple[Quantity, str, str], dict[str, IntervalEstimate]] = {}  # (quantity, model, parent) -> language
    validity: list[Validity] = []
    counts: list[StatusCount] = []
    agreement: list[ScorerAgreement] = []
    together = {spec.name: spec for spec in specs if spec.parallel}
    parallel = ParallelSeries()
    for language in inputs.languages:
        found = quantities(inputs, convention, settings.threshold, language, FAMILIES, specs)
        for (quantity, model), series in found.series.items():
            if quantity.metric in together:
                parallel.add(Place(quantity, model, language), series)
        # Values of models, and means of groups of seeds.
        for quantity in found.asked:
            if quantity.metric in together:
                continue
            for model in inputs.models:
                value = estimate(found.series[quantity, model], language, resampling)
                values.setdefault((quantity, model), {})[language] = value
            for label, models in inputs.seed_groups.items():
                estimates = [values[quantity, model][language] for model in models]
                mean = mean_value([found.series[quantity, model] for model in models], estimates, language, resampling)
                values.setdefault((quantity, label), {})[language] = mean
        # Differences from parents.
        for quantity in found.compared(metrics):
            if quantity.metric in together:
                continue
            for model, parent in inputs.compare:
                gap = difference(*found.sides(quantity, model, parent), language, resampling)
                gaps.setdefault((quantity, model, parent), {})[language] = gap
            for label, parent in group_parents:
                models = inputs.seed_groups[label]
                estimates = [gaps[quantity, model, parent][language] for model in models]
                sides = [found.sides(quantity, model, parent) for model in models]
                mean = mean_difference(sides, estimates, language, resampling)
                gaps.setdefault((quantity, label, parent), {})[language] = mean
        # Agreement and validity of scorers.
        counts += found.counts
        agreement += agreements(inputs, found.scored, language, resampling, settings.threshold)
        if inputs.reference is not None:
            validity += validities(inputs, found.scored, language, resampling, inputs.reference)
    # Quantities with the same clusters in all languages.
    for quantity, language in parallel.quantities():
        draw = parallel.draw(quantity)
        series_of = {model: parallel.sides(quantity, language, model) for model in inputs.models}
        for model, series in series_of.items():
            values.setdefault((quantity, model), {})[language] = estimate_over(series, language, draw, resampling)
        for label, models in inputs.seed_groups.items():
            estimates = [values[quantity, model][language] for model in models]
            values.setdefault((quantity, label), {})[language] = seeds(estimates, resampling)
        exact = together[quantity.metric].exact
        for model, parent in inputs.compare:
            gap = difference_over(series_of[model], series_of[parent], language, draw, resampling, exact)
            gaps.setdefault((quantity, model, parent), {})[language] = gap
        for label, parent in group_parents:
            estimates = [gaps[quantity, model, parent][language] for model in inputs.seed_groups[label]]
            gaps.setdefault((quantity, label, parent), {})[language] = seeds(estimates, resampling)
    return Measured(
        metric_rows(values, metrics, sizes, inputs.evidence, settings.confidence),
        comparison_rows(gaps, metrics, sizes, inputs.evidence, settings.confidence, settings.correction),
        validity,
        counts,
        agreement,
    )
