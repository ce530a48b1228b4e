"""Diversity of a prompt's completions: dist-n and novelty, from counts per completion.

dist-n is the mean over prompts of the number of distinct n-grams, divided by the number of all unigrams (Li et al., for
every n) or all n-grams of the prompt's completions, as the convention decides. Prompts are rows in every convention, as
in the paper's blocks of 25 lines, and duplicates are not pooled. A prompt without units has no dist-n; it is left out
and counted. Li et al. also print the population deviation over prompts.

novelty is the mean over completions of the share of their units that the prompt does not have. If the convention counts
empty completions as 0, they count here, too, as in Neplenbroek et al.; otherwise they are left out. If it considers
only completions in the right language, these are the ones without a line in another language; for a difference, in both
models.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.measure.completions import MISSING, NO_IDENTIFICATION, WRONG_LANGUAGE, completion_places, most_common
from detox_ray.measure.conventions import Convention
from detox_ray.measure.fluency import right_places
from detox_ray.measure.quantities import LanguageInputs, MetricFamily, Quantities
from detox_ray.measure.statistics import Floats, Ratio, Series, deviation, ratio, without_value
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import DIVERSITIES, EMPTY, IDENTIFICATIONS, OK, PROMPTS

_MEANINGS = {
    1: "distinct units among all units of a prompt's completions",
    2: "distinct pairs of adjacent units among all",
    3: "distinct runs of three units among all",
}
DISTINCT = tuple(
    MetricSpec(
        name=f"dist_{n}",
        title=f"Distinct {n}-grams",
        meaning=meaning,
        short=f"Dist‑{n}",
        kind="cost",
        direction="higher",
        unit="share of n-grams",
        series_title="{title} ({scorer})",
        tradeoff=n == 2,
        needs=(PROMPTS, DIVERSITIES),
    )
    for n, meaning in _MEANINGS.items()
)
NOVELTY = MetricSpec(
    name="novelty",
    title="Novelty",
    meaning="share of a completion's units that its prompt does not have",
    short="Novelty",
    kind="cost",
    direction="higher",
    unit="share of units",
    series_title="{title} ({scorer})",
    needs=(PROMPTS, DIVERSITIES, IDENTIFICATIONS),
)
SPREADS = tuple(metric.with_spread(f"{metric.name}_std", "standard deviation") for metric in DISTINCT)
NO_UNITS = "no_units"  # none of the prompt's completions has anything to count
_NGRAMS = ("unigrams", "bigrams", "trigrams")


class DiversitySeries(NamedTuple):
    """Each metric of `metrics_of` as a series over prompts, and the number of prompts per status."""

    series: dict[str, Series]
    counts: dict[str, int]


def metrics_of(convention: Convention) -> tuple[str, ...]:
    """Return the names of the metrics that a convention has, in order."""
    metrics = (*DISTINCT, NOVELTY, *(SPREADS if convention.spreads == "shown" else ()))
    return tuple(metric.name for metric in metrics)


def diversity_metrics(
    prompts: pa.Table, diversities: pa.Table, convention: Convention, right: NDArray[np.int64] | None
) -> DiversitySeries:
    """Compute the metrics of one model.

    Args:
        prompts: PROMPTS.
        diversities: DIVERSITIES.
        convention: The convention.
        right: Places of the completions in the right language (`fluency.right_language`); None: unknown.
    """
    names, prompt = np.unique(diversities["prompt_id"].to_numpy(zero_copy_only=False), return_inverse=True)

    def summed(column: str) -> Floats:
        return np.bincount(prompt, diversities[column].to_numpy(), minlength=len(names)).astype(np.float64)

    unigrams = summed("unigrams")
    tally = {OK: int((unigrams > 0).sum()), EMPTY: int((unigrams == 0).sum())}
    counts = {status: n for status, n in tally.items() if n}
    why = NO_UNITS if counts.get(OK) else most_common(counts)  # status of a metric that has no n-grams
    series: dict[str, Series] = {}
    spreads: dict[str, Series] = {}
    for number, metric in enumerate((metric.name for metric in DISTINCT), start=1):
        among = unigrams if convention.dist_denominator == "unigrams" else summed(_NGRAMS[number - 1])
        kept = among > 0
        if not kept.any():
            series[metric] = spreads[f"{metric}_std"] = without_value(why)
            continue
        shares, clusters = summed(f"distinct_{number}")[kept] / among[kept], names[kept].tolist()
        series[metric] = ratio(clusters, shares, np.ones(len(shares)), decimals=convention.decimals)
        places = np.arange(len(shares))
        spreads[f"{metric}_std"] = deviation(clusters, places, shares, decimals=convention.decimals)
    series[NOVELTY.name] = novelty(prompts, diversities, convention, right)
    if convention.spreads == "shown":
        series |= spreads
    return DiversitySeries(series, counts)


def novelty(prompts: pa.Table, diversities: pa.Table, convention: Convention, right: NDArray[np.int64] | None) -> Ratio:
    """Return novelty: the mean over those completions that the convention counts."""
    counted = np.ones(len(diversities), dtype=bool)
    if convention.empty != "zero":
        counted = pc.equal(diversities["status"], OK).to_numpy()
    why = EMPTY if len(diversities) else MISSING
    if convention.quality_of == "right-language":
        if right is None:
            return without_value(NO_IDENTIFICATION)
        why = WRONG_LANGUAGE if counted.any() else EMPTY
        counted = counted & np.isin(completion_places(prompts, diversities), right)
    if not counted.any():
        return without_value(why)
    rows = diversities.filter(pa.array(counted))
    names, prompt = np.unique(rows["prompt_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    shares = rows["novel"].to_numpy() / np.maximum(rows["unigrams"].to_numpy(), 1)
    return ratio(names.tolist(), np.bincount(prompt, weights=shares), np.bincount(prompt))


def _add(context: LanguageInputs, quantities: Quantities) -> None:
    """Add every model's diversity in one language."""
    inputs, units = context.inputs, context.inputs.diversity_units
    if not inputs.diversities:
        return
    tables: dict[str, pa.Table] = {}
    right: dict[str, NDArray[np.int64]] = {}
    for model in inputs.models:
        table = inputs.diversities.get((model, context.language))
        if table is None:
            nothing = dict.fromkeys(metrics_of(context.convention), without_value(MISSING))
            result = DiversitySeries({**nothing}, {MISSING: 0})
        else:
            tables[model] = table
            right |= right_places(context, model)
            result = diversity_metrics(context.prompts, table, context.convention, right.get(model))
        for metric, series in result.series.items():
            quantities.series[context.quantity(metric, units), model] = series
        quantities.add_counts(units, model, context.language, result.counts)
    for model, parent in inputs.compare:
        if model in right and parent in right:
            both = np.intersect1d(right[model], right[parent])
            a, b = (novelty(context.prompts, tables[side], context.convention, both) for side in (model, parent))
            quantities.paired[context.quantity(NOVELTY.name, units), model, parent] = a, b


FAMILY = MetricFamily((*DISTINCT, NOVELTY, *SPREADS), _add)
