"""The quantities of one language before any statistics: what to resample for each model, and what was left out and why.

Metrics that depend on a convention, or that share the reading of their tables, belong to families (toxicity.py,
perplexity.py, …), which list their metrics. Every other metric, from any stage, is a `MetricSpec` with its own
computation, which `_of_spec` calls for each model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from detox_ray.measure.combined import combined
from detox_ray.measure.completions import MISSING, Completions
from detox_ray.measure.conventions import Convention
from detox_ray.measure.inputs import Inputs
from detox_ray.measure.statistics import Series, ratio, without_value
from detox_ray.storage.metric_spec import ALL, Cell, ClusterSums, MetricInput, Metrics, MetricSpec
from detox_ray.storage.tables import OK, PROMPTS

POINT_DECIMALS = 12  # digits of a value that a metric's own computation has rounded already; enough to keep it
NO_CLUSTERS = "nothing_to_measure"  # a metric's own computation has no cluster with a value, and states no reason


class Quantity(NamedTuple):
    """The columns that identify a row of the result, apart from model and language."""

    metric: str
    scorer: str
    convention: str
    part: str = ALL


class StatusCount(NamedTuple):
    """The number of completions with a status, for one model and language.

    For ``held-out-text`` it is the number of texts, and for diversity the number of prompts.
    """

    scorer: str
    model: str
    language: str
    status: str
    n: int


class LanguageInputs(NamedTuple):
    """The inputs of one language's metrics. Tables that several metrics need are read once."""

    inputs: Inputs
    convention: Convention
    threshold: float
    language: str
    prompts: pa.Table
    generations: dict[str, pa.Table]  # by model, if it has them
    identifications: dict[str, pa.Table]  # by model, if it has them

    def quantity(self, metric: str, scorer: str) -> Quantity:
        """Return the quantity of a metric by a scorer, under the chosen convention."""
        return Quantity(metric, scorer, self.convention.name)


class Quantities(NamedTuple):
    """The quantities of one language. Each has a series for every model, with or without a value."""

    series: dict[tuple[Quantity, str], Series]  # by (quantity, model)
    # by (quantity, model, parent): both sides of a comparison, if they differ from the models' own series
    paired: dict[tuple[Quantity, str, str], tuple[Series, Series]]
    counts: list[StatusCount]
    scored: dict[tuple[str, str], Completions]  # by (scorer, model), if it has scores

    @property
    def asked(self) -> list[Quantity]:
        """Return every quantity, in order."""
        return list(dict.fromkeys(quantity for quantity, _ in self.series))

    def compared(self, metrics: Metrics) -> list[Quantity]:
        """Return the quantities by which models are compared: all except spreads of other metrics."""
        return [q for q in self.asked if metrics.of(q.metric, q.scorer).spread_of is None]

    def sides(self, quantity: Quantity, model: str, parent: str) -> tuple[Series, Series]:
        """Return the two series to compare: the model's and the parent's."""
        own = self.series[quantity, model], self.series[quantity, parent]
        return self.paired.get((quantity, model, parent), own)

    def add_counts(self, scorer: str, model: str, language: str, counts: Mapping[str, int]) -> None:
        """Add counts by status."""
        self.counts.extend(StatusCount(scorer, model, language, status, n) for status, n in counts.items())


class MetricFamily(NamedTuple):
    """Metrics that are computed together in one pass over their tables."""

    specs: tuple[MetricSpec, ...]
    add: Callable[[LanguageInputs, Quantities], None]  # adds the language's series and counts to the second argument


def language_inputs(inputs: Inputs, convention: Convention, threshold: float, language: str) -> LanguageInputs:
    """Read the tables of one language that several metrics need."""
    return LanguageInputs(
        inputs,
        convention,
        threshold,
        language,
        inputs.prompts.get(language, PROMPTS.columns.empty_table()),
        {m: inputs.generations[m, language] for m in inputs.models if (m, language) in inputs.generations},
        {m: inputs.identifications[m, language] for m in inputs.models if (m, language) in inputs.identifications},
    )


def quantities(
    inputs: Inputs,
    convention: Convention,
    threshold: float,
    language: str,
    families: Sequence[MetricFamily],
    specs: Sequence[MetricSpec],
) -> Quantities:
    """Compute the quantities of ``specs`` in one language. The metrics of a family are computed together."""
    context = language_inputs(inputs, convention, threshold, language)
    found = Quantities({}, {}, [], {})
    for family in families:
        if not set(family.specs).isdisjoint(specs):
            family.add(context, found)
    wanted = {spec.name for spec in specs}
    for key in [key for key in found.series if key[0].metric not in wanted]:
        del found.series[key]
    for spec in specs:
        if spec.compute is not None:
            _of_spec(spec, context, found)
    return found


def _of_spec(spec: MetricSpec, context: LanguageInputs, found: Quantities) -> None:
    """Add a metric with its own computation, for each model, each scorer of its tables and each part."""
    assert spec.compute is not None
    inputs, language = context.inputs, context.language
    sources = {table.name: inputs.of_table(table.name) for table in spec.needs if table != PROMPTS}
    if not all(sources.values()):
        return  # not asked for in this experiment
    scorers = dict.fromkeys(key[0] for source in sources.values() for key in source if len(key) > 2)
    assert bool(scorers) != (spec.scorer is not None), f"{spec.name}: states a scorer if its tables have none"
    for scorer in [spec.scorer] if spec.scorer is not None else scorers:
        by_model: dict[str, dict[Cell, ClusterSums]] = {}
        for model in inputs.models:
            tables = {
                name: table
                for name, source in sources.items()
                if (table := source.get((scorer, model, language), source.get((model, language)))) is not None
            }
            if len(tables) < len(sources):
                by_model[model] = {Cell(): ClusterSums(status=MISSING)}
                continue
            computed = spec.compute(MetricInput(model, language, context.prompts, tables, context.convention.name))
            parts = {ALL: computed} if isinstance(computed, ClusterSums) else computed
            by_model[model] = {key if isinstance(key, Cell) else Cell(key): sums for key, sums in parts.items()}
        cells = dict.fromkeys(cell for values in by_model.values() for cell in values)
        for part, convention in cells:
            quantity = Quantity(spec.name, scorer, convention or context.convention.name, part)
            for model, values in by_model.items():
                sums = values.get(Cell(part, convention), ClusterSums(status=MISSING))
                found.series[quantity, model] = _series(sums, spec)
                found.add_counts(scorer, model, language, sums.counts)


def _series(sums: ClusterSums, spec: MetricSpec) -> Series:
    """Return the series of the clusters that have a positive denominator."""
    if sums.status != OK:
        return without_value(sums.status)
    kept = np.asarray(sums.denominators) > 0
    if not kept.any():
        return without_value(NO_CLUSTERS)
    names = [name for name, keep in zip(sums.clusters, kept, strict=True) if keep]
    decimals = None if sums.point is None else POINT_DECIMALS
    numerators, denominators = np.asarray(sums.numerators)[kept], np.asarray(sums.denominators)[kept]
    if spec.combine is not None:
        return combined(names, numerators, denominators, spec.combine)
    return ratio(names, numerators, denominators, transform=spec.transform, point=sums.point, decimals=decimals)
