"""Turn estimates per language into the committed tables, with macro means and corrected tests.

A language counts in the macro mean of a metric if it has a value and, for toxicity, if the scorer has evidence in it.
The tests of a metric are corrected over all tested languages. The tests of its parts ("gender"), which readers see in a
separate table, are corrected over all languages and parts.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from detox_ray.measure.quantities import Quantity
from detox_ray.measure.statistics import IntervalEstimate, benjamini_hochberg, holm, macro
from detox_ray.storage.metric_spec import ALL, Metrics
from detox_ray.storage.tables import COMPARISONS, METRICS, OK

MACRO = "macro"
NO_EVIDENCE = "no_language_with_evidence"  # there are values, but the scorer has evidence in none of the languages
CORRECTIONS = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}

Sizes = Mapping[str, int]  # group of models that differ only in their seed -> number of models
Evidence = Mapping[str, Collection[str]]  # scorer -> languages with evidence; missing scorer: all


def metric_rows(
    values: Mapping[tuple[Quantity, str], Mapping[str, IntervalEstimate]],
    metrics: Metrics,
    sizes: Sizes,
    evidence: Evidence,
    confidence: float,
) -> pa.Table:
    """Return METRICS from (quantity, model) -> language -> estimate."""
    rows = []
    for (quantity, model), estimates in values.items():
        counting = _counting(quantity, metrics, estimates, evidence)
        mean = _macro(estimates, counting, confidence)
        for language, result in {**estimates, MACRO: mean}.items():
            place = (quantity.metric, model, language, quantity.part, quantity.scorer, quantity.convention)
            inside = language == MACRO or language in counting
            own = (result.value, result.low, result.high, result.n, sizes.get(model, 1), _between_seeds(result))
            rows.append((*place, *own, inside, result.status))
    return _table(rows, METRICS.columns)


def comparison_rows(
    gaps: Mapping[tuple[Quantity, str, str], Mapping[str, IntervalEstimate]],
    metrics: Metrics,
    sizes: Sizes,
    evidence: Evidence,
    confidence: float,
    correction: str,
) -> pa.Table:
    """Return COMPARISONS from (quantity, model, parent) -> language -> difference. ``correction``: see CORRECTIONS."""
    rows = []
    corrected = _corrected(gaps, correction)
    for (quantity, model, parent), estimates in gaps.items():
        counting = _counting(quantity, metrics, estimates, evidence)
        mean = _macro(estimates, counting, confidence)
        for language, gap in {**estimates, MACRO: mean}.items():
            p = corrected.get((quantity, model, parent, language))
            place = (quantity.metric, model, parent, language, quantity.part, quantity.scorer, quantity.convention)
            gap_row = (gap.value, gap.low, gap.high, gap.p_value, p, gap.ratio, gap.ratio_low, gap.ratio_high)
            inside = language == MACRO or language in counting
            seeds = sizes.get(model, 1), _between_seeds(gap)
            rows.append((*place, *gap_row, gap.detectable, gap.n, *seeds, inside, gap.status))
    return _table(rows, COMPARISONS.columns)


def _corrected(
    gaps: Mapping[tuple[Quantity, str, str], Mapping[str, IntervalEstimate]], correction: str
) -> dict[tuple[Quantity, str, str, str], float | None]:
    """Return (quantity, model, parent, language) -> p-value, corrected over its family of tests."""
    families: dict[tuple[Quantity, str, str], list[tuple[tuple[Quantity, str, str, str], float | None]]] = {}
    for (quantity, model, parent), estimates in gaps.items():
        family = quantity if quantity.part == ALL else quantity._replace(part="")
        tests = families.setdefault((family, model, parent), [])
        tests += [((quantity, model, parent, language), gap.p_value) for language, gap in estimates.items()]
    return {
        test: p
        for tests in families.values()
        for (test, _), p in zip(tests, CORRECTIONS[correction]([p for _, p in tests]), strict=True)
    }


def _counting(
    quantity: Quantity, metrics: Metrics, estimates: Mapping[str, IntervalEstimate], evidence: Evidence
) -> list[str]:
    """Return the languages that count in a macro mean."""
    trusted: Collection[str] = estimates
    if metrics.of(quantity.metric, quantity.scorer).kind == "toxicity":
        trusted = evidence.get(quantity.scorer, estimates)
    return [language for language, result in estimates.items() if result.status == OK and language in trusted]


def _macro(estimates: Mapping[str, IntervalEstimate], counting: Sequence[str], confidence: float) -> IntervalEstimate:
    mean = macro([estimates[language] for language in counting], confidence)
    if not counting and any(result.status == OK for result in estimates.values()):
        return mean._replace(status=NO_EVIDENCE)
    return mean


def _between_seeds(result: IntervalEstimate) -> float | None:
    """Return the sample standard deviation between seeds, not rounded; None for a single model."""
    if result.own is None or result.own.seeds is None:
        return None
    return float(np.std(result.own.seeds, ddof=1))


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
