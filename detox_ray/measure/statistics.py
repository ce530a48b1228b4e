"""The statistics of all metrics: values and paired differences with interval, test, ratio and power.

Clusters (prompts with all their samples) are resampled whole. The samples of a prompt resemble each other, so
resampling single completions would make intervals far too narrow.

- Interval: percentile or BCa bootstrap (resampling.py). For a difference, and for the ratio model / parent, both
  models share the drawn prompts (paired). For a macro mean, languages are drawn independently (stratified) and averaged
  draw by draw.
- Test: two-sided paired permutation. A fair coin swaps the two models' labels within each prompt; for a mean over
  prompts, this flips the sign of a prompt's difference. For a macro mean, all languages are swapped at once.
  resampling.py says how small a p-value can be.
- Models that differ only in their seed: a nested bootstrap draws seeds, then prompts; interval and test by Student's t.
- Correction: Holm or Benjamini-Hochberg, over the languages of one metric (corrections.py).
- If resampling gives no finite spread (one cluster, an overflow), there is a value but no interval. If all clusters are
  alike, the interval is that single value, however few they are, so read it together with n.

With few prompts, a bootstrap interval is too narrow: a nominal 95 % covers about 91 % with 20 prompts, 94 % with 100,
and 94 to 95 % with 300 (tests/measure/test_simulation.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detox_ray.measure.corrections import benjamini_hochberg, holm
from detox_ray.measure.resampling import (
    Floats,
    Resampling,
    Spread,
    coins,
    detectable,
    generator,
    influence_of,
    interval,
    permutation_p,
    seeds_p,
    weights,
)
from detox_ray.measure.series import (
    Deviation,
    Quantile,
    Ratio,
    Series,
    common,
    deviation,
    quantile,
    ratio,
    swapped,
    without_value,
)
from detox_ray.storage.tables import OK

__all__ = [
    "Deviation",
    "Floats",
    "IntervalEstimate",
    "Quantile",
    "Ratio",
    "Resampling",
    "Series",
    "benjamini_hochberg",
    "deviation",
    "difference",
    "estimate",
    "holm",
    "macro",
    "quantile",
    "ratio",
    "seeds",
    "without_value",
]


class IntervalEstimate(NamedTuple):
    """A value, or a difference model - parent, with its interval."""

    value: float | None  # as reported, rounded if the convention rounds
    low: float | None
    high: float | None
    p_value: float | None  # only for differences
    n: int  # number of clusters, or of languages in a macro mean
    status: str
    # Only for differences.
    ratio: float | None = None  # model / parent, not rounded; None if the parent is 0
    ratio_low: float | None = None
    ratio_high: float | None = None
    detectable: float | None = None  # smallest true difference that would be detected with 80 % power
    # For macro means and means over seeds.
    own: Spread | None = None  # of the value or the difference
    parent: Spread | None = None  # of the parent's value; only for differences
    swaps: Floats | None = None  # (R,) values under permutation; only for differences


def estimate(series: Series, language: str, resampling: Resampling) -> IntervalEstimate:
    """Return the value of one model in one language with its bootstrap interval."""
    if series.status != OK:
        return _nothing(series.status)
    if not np.isfinite(series.exact()):
        return _nothing("not_finite")
    own = _spread(series, language, resampling)
    return _with_interval(series.value(), len(series.clusters), resampling.confidence, own)


def difference(model: Series, parent: Series, language: str, resampling: Resampling) -> IntervalEstimate:
    """Return model minus parent on the clusters that both have, with paired interval, permutation test, ratio and
    power."""
    for side in (model, parent):
        if side.status != OK:
            return _nothing(side.status)
    a, b = common(model, parent)
    n = len(a.clusters)
    if n == 0:
        return _nothing("no_common_prompts")
    if not np.isfinite(a.exact() - b.exact()):
        return _nothing("not_finite")
    left, right = _spread(a, language, resampling), _spread(b, language, resampling)
    own = Spread(left.exact - right.exact, _minus(left.draws, right.draws), _minus(left.influence, right.influence))
    value = own.exact if a.decimals is None else round(a.value() - b.value(), a.decimals)
    blocks = coins(n, language, resampling) if n > 1 else ()
    swaps = np.concatenate([swapped(a, b, block) for block in blocks]) if n > 1 else None
    return _with_interval(value, n, resampling.confidence, own, right, swaps)


def macro(languages: Sequence[IntervalEstimate], confidence: float) -> IntervalEstimate:
    """Return the unweighted mean over the languages that have a value. ``n`` is their number.

    Its ratio is that of the two models' means. A language with a single prompt has a value but no draws; the mean then
    has neither an interval nor a test.
    """
    kept = [e for e in languages if e.status == OK]
    if not kept:
        return _nothing("no_language_with_value")
    own, parent = _mean([e.own for e in kept]), _mean([e.parent for e in kept])
    assert own is not None
    swaps = [e.swaps for e in kept if e.swaps is not None]
    mean = np.mean(swaps, axis=0) if len(swaps) == len(kept) else None
    return _with_interval(float(np.mean([e.value for e in kept])), len(kept), confidence, own, parent, mean)


def seeds(replicates: Sequence[IntervalEstimate], resampling: Resampling) -> IntervalEstimate:
    """Return the mean over two or more models that differ only in their seed.

    Its interval is about training with new seeds, and about new prompts. Replicates are values or differences on the
    same prompts (seed_groups.py). If one has no value, the mean has none, with the same status, because a mean over the
    other seeds would hide the failure. A draw takes seeds, then prompts; the replicates' own draws share the drawn
    prompts, because every seed answers the same ones. Of S seeds, S - 1 are drawn, which makes the variance between
    them unbiased (Rao and Wu 1988). Interval and p-value use Student's t (resampling.py), because swapping labels would
    ignore the variance between seeds.
    """
    for each in replicates:
        if each.status != OK:
            return _nothing(each.status)
    assert len(replicates) > 1 and len({each.n for each in replicates}) == 1
    count = len(replicates)
    drawn = generator(resampling.seed, "seeds", count).multinomial(
        count - 1, np.full(count, 1 / count), size=resampling.resamples
    )  # (R, S), the same for every language and metric

    def nested(spreads: Sequence[Spread | None]) -> Spread | None:
        there = [spread for spread in spreads if spread is not None]
        if len(there) < count:
            return None
        draws = [spread.draws for spread in there if spread.draws is not None]
        nest = (drawn * np.stack(draws, axis=1)).sum(axis=1) / (count - 1) if len(draws) == count else None
        exact = np.array([spread.exact for spread in there])
        return Spread(float(exact.mean()), nest, None, exact)

    own, parent = nested([e.own for e in replicates]), nested([e.parent for e in replicates])
    assert own is not None
    value = float(np.mean([e.value for e in replicates]))
    return _with_interval(value, replicates[0].n, resampling.confidence, own, parent)


def _spread(series: Series, language: str, resampling: Resampling) -> Spread:
    n = len(series.clusters)
    if n == 1:
        return Spread(series.exact(), None, None)
    draws = np.concatenate([series.under(block) for block in weights(n, language, resampling)])
    influence = influence_of(series.left_out()) if resampling.interval == "bca" else None
    return Spread(series.exact(), draws, influence)


def _with_interval(
    value: float, n: int, confidence: float, own: Spread, parent: Spread | None = None, swaps: Floats | None = None
) -> IntervalEstimate:
    low, high = interval(own, confidence)
    result = IntervalEstimate(value, low, high, None, n, OK, own=own)
    if parent is None:
        return result
    result = result._replace(parent=parent, swaps=swaps, detectable=detectable(own, confidence))
    if own.seeds is not None:
        result = result._replace(p_value=seeds_p(own))
    elif swaps is not None:
        result = result._replace(p_value=permutation_p(own.exact, swaps))
    if parent.exact == 0:
        return result
    quotient = _quotient(own, parent)
    ratio_low, ratio_high = interval(quotient, confidence)
    return result._replace(ratio=quotient.exact, ratio_low=ratio_low, ratio_high=ratio_high)


def _quotient(own: Spread, parent: Spread) -> Spread:
    """Return model / parent = 1 + difference / parent, draw by draw. There are no draws if the parent is 0 in one."""
    exact = 1 + own.exact / parent.exact
    each = None if own.seeds is None else 1 + own.seeds / parent.exact
    if own.draws is None or parent.draws is None or np.any(parent.draws == 0):
        return Spread(exact, None, None, each)
    with np.errstate(invalid="ignore"):
        draws = 1 + own.draws / parent.draws
    if own.influence is None or parent.influence is None:
        return Spread(exact, draws, None, each)
    return Spread(exact, draws, (own.influence - (exact - 1) * parent.influence) / parent.exact)


def _mean(spreads: Sequence[Spread | None]) -> Spread | None:
    there = [spread for spread in spreads if spread is not None]
    if len(there) < len(spreads):
        return None
    draws = [spread.draws for spread in there if spread.draws is not None]
    influences = [spread.influence for spread in there if spread.influence is not None]
    replicates = [spread.seeds for spread in there if spread.seeds is not None]
    complete = len(draws) == len(there)
    return Spread(
        float(np.mean([spread.exact for spread in there])),
        np.mean(draws, axis=0) if complete else None,
        np.concatenate(influences) / len(there) if complete and len(influences) == len(there) else None,
        np.mean(replicates, axis=0) if len(replicates) == len(there) else None,
    )


def _minus(a: Floats | None, b: Floats | None) -> Floats | None:
    if a is None or b is None:
        return None
    with np.errstate(invalid="ignore"):  # if both overflow, the difference is NaN
        return a - b


def _nothing(status: str) -> IntervalEstimate:
    return IntervalEstimate(None, None, None, None, 0, status)
