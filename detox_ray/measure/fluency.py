"""Perplexity of completions, given their prompts, under an evaluator: a causal model, or the papers' mT5.

For each completion, the papers compute

    exp((mean_full * (n_full - 1) - mean_prompt * (n_prompt - 1)) / (n_full - n_prompt)),

in which a mean over n tokens is multiplied by n - 1, and then take the median over completions. Li et al. skip
completions of white space, keep only values below 1e4, and also print the quartiles. Neplenbroek et al. keep
completions without a line in another language, including white space if it has tokens; for a difference, both models'
completions must pass. As in their code, this is floating-point arithmetic: a completion that adds no token gives NaN
(left out), infinity or 0.

``corrected`` is exp(sum of (full_nll - prompt_nll) / sum of (full_tokens - prompt_tokens)) over all completions, so
that every token has the same weight and no completion is left out for being bad. In both, clusters are prompts.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.measure.completions import (
    MISSING,
    NO_IDENTIFICATION,
    WRONG_LANGUAGE,
    completion_places,
    most_common,
    status_counts,
)
from detox_ray.measure.conventions import Convention
from detox_ray.measure.quantities import LanguageInputs, MetricFamily, Quantities
from detox_ray.measure.series import united
from detox_ray.measure.statistics import Floats, Quantile, Series, quantile, ratio, without_value
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import EMPTY, FAILED, FLUENCIES, IDENTIFICATIONS, OK, PROMPTS

PERPLEXITY = MetricSpec(
    name="perplexity",
    title="Perplexity",
    meaning="how surprising a completion is to a model",
    short="Perplexity",
    kind="cost",
    direction="lower",
    decimals=2,
    series_title="{title} of completions under {scorer}",
    tradeoff=True,
    needs=(PROMPTS, FLUENCIES, IDENTIFICATIONS),
)
QUARTILES = {
    PERPLEXITY.with_spread("perplexity_q1", "first quartile"): 0.25,
    PERPLEXITY.with_spread("perplexity_q3", "third quartile"): 0.75,
}
NO_TOKENS = "no_tokens"  # the completion adds no token to its prompt
OVER_CAP = "over_perplexity_cap"


class FluencySeries(NamedTuple):
    """The perplexity of one model's completions, and the number of completions per status.

    The statuses include those of completions that the convention leaves out.
    """

    series: Series
    counts: dict[str, int]

    def shown(self, convention: Convention) -> dict[str, Series]:
        """Return metric -> series, for the metrics of the convention. Quartiles use the values of the median."""
        if convention.spreads == "none":
            return {PERPLEXITY.name: self.series}
        median = self.series
        quartiles = {
            spec.name: median._replace(q=q) if isinstance(median, Quantile) else median for spec, q in QUARTILES.items()
        }
        return {PERPLEXITY.name: median, **quartiles}


def right_language(prompts: pa.Table, identifications: pa.Table) -> NDArray[np.int64]:
    """Return the places of completions without a line in another language, which includes those without a long line."""
    right = pc.and_(pc.equal(identifications["wrong_lines"], 0), pc.not_equal(identifications["status"], FAILED))
    return completion_places(prompts, identifications.filter(right))


def perplexity(
    prompts: pa.Table, fluencies: pa.Table, convention: Convention, right: NDArray[np.int64] | None
) -> FluencySeries:
    """Compute the perplexity of those evaluated completions that the convention counts.

    Args:
        prompts: PROMPTS.
        fluencies: FLUENCIES of one evaluator.
        convention: The convention.
        right: Places of the completions in the right language (`right_language`); None: unknown.
    """
    counts = status_counts(fluencies)
    by_language = convention.quality_of == "right-language"
    if by_language and right is None:
        return FluencySeries(without_value(NO_IDENTIFICATION), counts)
    evaluated = pc.equal(fluencies["status"], OK)
    if convention.fluency_blank == "count":
        blank = pc.and_(pc.equal(fluencies["status"], EMPTY), pc.is_valid(fluencies["full_nll"]))
        counts[EMPTY] = counts.get(EMPTY, 0) - (pc.sum(blank).as_py() or 0)
        evaluated = pc.or_(evaluated, blank)
    rows = fluencies.filter(evaluated)
    nll, tokens = _added(rows, convention)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = np.exp(nll / tokens)
    kept = np.ones(len(values), dtype=bool)

    def leave_out(those: NDArray[np.bool_], status: str) -> None:
        nonlocal kept
        counts[status] = int((kept & those).sum())
        kept = kept & ~those

    if by_language and right is not None:
        leave_out(~np.isin(completion_places(prompts, rows), right), WRONG_LANGUAGE)
    leave_out(np.isnan(values) if convention.fluency == "median" else tokens <= 0, NO_TOKENS)
    if convention.perplexity_cap is not None:
        leave_out(values >= convention.perplexity_cap, OVER_CAP)
    counts[OK] = int(kept.sum())
    counts = {status: n for status, n in counts.items() if n}
    if not kept.any():
        return FluencySeries(without_value(most_common(counts)), counts)

    names, cluster = np.unique(rows["prompt_id"].to_numpy(zero_copy_only=False)[kept], return_inverse=True)
    clusters, nll, tokens, decimals = names.tolist(), nll[kept], tokens[kept], convention.perplexity_decimals
    if convention.fluency == "median":
        return FluencySeries(quantile(clusters, cluster, values[kept], decimals=decimals, midpoint=True), counts)
    sums = np.bincount(cluster, weights=nll), np.bincount(cluster, weights=tokens)
    return FluencySeries(ratio(clusters, *sums, transform=np.exp, decimals=decimals), counts)


def _added(rows: pa.Table, convention: Convention) -> tuple[Floats, Floats]:
    """Return what each completion adds to its prompt: loss in nats (N,) and tokens (N,)."""
    losses = []
    for side in ("full", "prompt"):
        tokens, nll = rows[f"{side}_tokens"].to_numpy(), rows[f"{side}_nll"].to_numpy()
        if convention.perplexity_terms == "n-1":
            nll = np.divide(nll, tokens, out=np.zeros(len(rows)), where=tokens > 0) * (tokens - 1)
        losses.append(nll)
    return losses[0] - losses[1], (rows["full_tokens"].to_numpy() - rows["prompt_tokens"].to_numpy()).astype(float)


def right_places(context: LanguageInputs, model: str) -> dict[str, NDArray[np.int64]]:
    """Return model -> places of its completions in the right language.

    The mapping is empty if the convention does not need them or if the languages were not identified.
    """
    if context.convention.quality_of == "all" or model not in context.identifications:
        return {}
    return {model: right_language(context.prompts, context.identifications[model])}


def _add(context: LanguageInputs, quantities: Quantities) -> None:
    """Add the perplexity of every model's completions in one language, under every evaluator."""
    for evaluator in dict.fromkeys(evaluator for evaluator, _, _ in context.inputs.fluencies):
        _add_evaluator(context, quantities, evaluator)


def _add_evaluator(context: LanguageInputs, quantities: Quantities, evaluator: str) -> None:
    convention, inputs = context.convention, context.inputs

    def keep(model: str, result: FluencySeries) -> None:
        for metric, series in result.shown(convention).items():
            quantities.series[context.quantity(metric, evaluator), model] = series
        quantities.add_counts(evaluator, model, context.language, result.counts)

    tables: dict[str, pa.Table] = {}
    right: dict[str, NDArray[np.int64]] = {}
    for model in inputs.models:
        table = inputs.fluencies.get((evaluator, model, context.language))
        if table is None:
            keep(model, FluencySeries(without_value(MISSING), {MISSING: 0}))
            continue
        tables[model] = table
        right |= right_places(context, model)
        keep(model, perplexity(context.prompts, table, convention, right.get(model)))
    for model, parent in inputs.compare:
        if model in right and parent in right:  # a difference uses completions that are right in both models
            both = np.intersect1d(right[model], right[parent])
            a, b = (perplexity(context.prompts, tables[side], convention, both).series for side in (model, parent))
            # Each side is the median of all completions for which it has a value.
            quantities.paired[context.quantity(PERPLEXITY.name, evaluator), model, parent] = united(a, b)


FAMILY = MetricFamily((PERPLEXITY, *QUARTILES), _add)
