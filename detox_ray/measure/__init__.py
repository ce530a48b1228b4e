"""Measure: from committed generations and what scorers gave them to metrics and comparisons with intervals.

Pure numerics: no Ray, no files. One pass per language, so that the mappings of ``Inputs`` may read lazily. Which
metrics there are is stated beside their arithmetic (`MetricSpec`): by the families of this package, by any module of it
with a ``VARIANT``, and by other stages. Every (metric, model, language, scorer) asked for is a row: if there is no
value, its status says why, and the macro mean over languages leaves it out and says in ``n`` how many languages it
holds. What a metric of a family means is the convention's choice (conventions.py); one that makes completions in
another language 0 has ``corrected`` toxicity beside it. Models that differ in their seed only are also measured as one,
under their group's name (seed_groups.py).
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
    """What `measure` returns."""

    metrics: pa.Table  # METRICS
    comparisons: pa.Table  # COMPARISONS
    validity: list[Validity]  # of each scorer against the reference scorer, on completions
    counts: list[StatusCount]
    agreement: list[ScorerAgreement]  # of each pair of scorers, on completions


def specs() -> tuple[MetricSpec, ...]:
    """Return this stage's metrics in order: the families', then each ``VARIANT`` here and in others' packages.

    Those of `ability` belong to the stage that generates its completions.
    """
    return (
        *(spec for family in FAMILIES if family is not ability.FAMILY for spec in family.specs),
        *variants("detox_ray.metrics", "detox_ray.measure").values(),
    )


def measure(inputs: Inputs, settings: Settings, specs: Sequence[MetricSpec]) -> Measured:
    """Compute every metric and comparison of an experiment, per language and macro.

    Args:
        inputs: the tables and what to compare.
        settings: the choices under every number.
        specs: the metrics to compute, of all stages.

    Raises:
        ValueError: the settings name no known convention or choice.
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
        # values of models, and of groups of seeds their means
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
        # differences from parents
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
        # what scorers say about each other
        counts += found.counts
        agreement += agreements(inputs, found.scored, language, resampling, settings.threshold)
        if inputs.reference is not None:
            validity += validities(inputs, found.scored, language, resampling, inputs.reference)
    # what has the same clusters in all languages
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
