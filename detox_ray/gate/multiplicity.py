"""The confidence that a gate needs in one language if a rule is about many.

A rule that asks something of at least k of n languages makes one of two claims. "Pass": at least k languages meet the
bound. "Fail": at least n - k + 1 languages break it. Both are claims on at least u of n hypotheses (a partial
conjunction; Benjamini and Heller 2008), and both hold if u languages show it at the level alpha / (n - u + 1) each.
Whatever the dependence between languages, a wrong claim is then no likelier than alpha:

- Every language must meet the bound, and "pass" needs all of them (u = n): each at alpha. No correction, because a
  language that is wrong must slip through together with all others (an intersection-union test; Berger 1982).
- Every language must meet the bound, and one that breaks it fails the rule (u = 1): at alpha / n, as Bonferroni.
  Without that, 17 languages that all just meet the bound would fail by chance alone in about one run of three.
- In between, as "in at least 12 of 17": "pass" at alpha / 6, "fail" at alpha / 12.

alpha is one tail of the run's intervals: 2.5 % at a confidence of 95 %. Over several rules, passing is again an
intersection-union test and needs no correction. Failing is not corrected over rules: a model that just meets R rules
fails with a probability of at most R times alpha. Either way it is not released.

Results hold intervals at one confidence only. At a stricter level an interval's ends move away from the value by the
ratio of the two normal quantiles (for a mean over S seeds, of Student's t with S - 1 degrees of freedom). Each end
keeps its own distance, so that a skewed interval stays skewed.
"""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple


class Levels(NamedTuple):
    """The factors by which one tail of each language's interval is stricter, for either claim; 1 means no change."""

    passing: int = 1
    failing: int = 1


def levels(needed: int, asked: int) -> Levels:
    """Return the levels of a rule that asks something of at least ``needed`` of ``asked`` languages."""
    return Levels(passing=asked - needed + 1, failing=needed)


def widened(
    row: Mapping[str, Any], value: float, low: float, high: float, stricter: int, confidence: float
) -> tuple[float, float]:
    """Return an interval of ``row`` for a tail that is ``stricter`` times as small."""
    if stricter == 1:
        return low, high
    tail = (1 - confidence) / 2
    freedom = row["seeds"] - 1
    if freedom:
        from scipy.special import stdtrit

        factor = float(stdtrit(freedom, tail / stricter) / stdtrit(freedom, tail))
    else:
        factor = NormalDist().inv_cdf(1 - tail / stricter) / NormalDist().inv_cdf(1 - tail)
    return low - (factor - 1) * max(0.0, value - low), high + (factor - 1) * max(0.0, high - value)
