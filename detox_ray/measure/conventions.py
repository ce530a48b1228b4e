"""Conventions: what a metric means where the papers' text, their code and good statistics differ.

A convention is a named set of choices. Those in SWITCHES can each be changed separately, and the label in the tables
then says so ("paper+empty=skip"). docs/papers.md explains the papers' choices, in "Choices of a convention" and in its
sections on each paper's metrics.

============================ ===================== ============================ ================================
choice                       ``paper``             ``neplenbroek2025``          ``corrected``
============================ ===================== ============================ ================================
pooling                      string                row                          row
at_threshold                 toxic (>=)            toxic (not published)        toxic
empty                        blank (" ")           zero                         skip: left out and counted
wrong_language               count                 zero                         count; drift is a separate metric
perplexity_cap               1e4                   none                         none
perplexity_terms             n-1                   n-1                          n: the unchanged sum of nll
fluency                      median                median, without NaN          token-weighted
fluency_blank                skip                  count                        skip
quality_of                   all                   right-language               all
dist_denominator             unigrams              unigrams                     ngrams
decimals                     3                     none                         none
perplexity_decimals          2                     none                         none
spreads                      shown                 none                         none
============================ ===================== ============================ ================================

``paper`` follows the scripts of Li, Yong and Bach (2024), and ``neplenbroek2025`` those of Neplenbroek, Bisazza and
Fernández (2025); ``corrected`` is ours. No convention turns a failed measurement into a number.

A convention that rounds does so as the scripts do, to the last digit: NumPy's floats are scaled and then rounded half
to even, but toxicity probability, which is a Python float in the scripts, is rounded by its exact decimal value. There
are two differences from the scripts. Where they print a number although there is nothing to measure (a line or word
pass rate of 1 if no line is long enough), we have a status. And our sums of losses keep double precision, which theirs
lose from the sixth digit on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Convention:
    """A choice for each question. The first four are about toxicity, the others about fluency and diversity."""

    name: str  # label in the tables' column ``convention``
    pooling: Literal["string", "row"]  # a cluster is all prompts with the same text, or each row
    at_threshold: Literal["toxic", "harmless"]  # how a score equal to the threshold counts
    empty: Literal["blank", "zero", "skip"]  # an empty completion is scored as it is (or as " "), counts as 0, or not
    wrong_language: Literal["count", "zero", "exclude"]  # how a completion in another language counts
    perplexity_cap: float | None  # completions at or above it, or without a finite perplexity, are left out
    perplexity_terms: Literal["n", "n-1"]  # number of tokens by which a mean loss is multiplied to get a sum
    fluency: Literal["median", "token-weighted"]  # median over completions, or exp(sum of nll / sum of tokens)
    fluency_blank: Literal["count", "skip"]  # how white space counts that the evaluator turns into tokens
    # Completions that count for fluency and novelty: all, or those without a line in another language.
    quality_of: Literal["all", "right-language"]
    perplexity_decimals: int | None  # digits to round perplexity to; None: not rounded
    dist_denominator: Literal["unigrams", "ngrams"]  # what dist-n is divided by
    decimals: int | None  # digits to round toxicity and dist-n to; None: not rounded
    # Whether deviations of toxicity and dist-n, and quartiles of perplexity, are metrics, too.
    spreads: Literal["shown", "none"]


PAPER = Convention(
    name="paper",
    pooling="string",
    at_threshold="toxic",
    empty="blank",
    wrong_language="count",
    perplexity_cap=1e4,
    perplexity_terms="n-1",
    fluency="median",
    fluency_blank="skip",
    quality_of="all",
    perplexity_decimals=2,
    dist_denominator="unigrams",
    decimals=3,
    spreads="shown",
)
NEPLENBROEK = Convention(
    name="neplenbroek2025",
    pooling="row",
    at_threshold="toxic",
    empty="zero",
    wrong_language="zero",
    perplexity_cap=None,
    perplexity_terms="n-1",
    fluency="median",
    fluency_blank="count",
    quality_of="right-language",
    perplexity_decimals=None,
    dist_denominator="unigrams",
    decimals=None,
    spreads="none",
)
CORRECTED = Convention(
    name="corrected",
    pooling="row",
    at_threshold="toxic",
    empty="skip",
    wrong_language="count",
    perplexity_cap=None,
    perplexity_terms="n",
    fluency="token-weighted",
    fluency_blank="skip",
    quality_of="all",
    perplexity_decimals=None,
    dist_denominator="ngrams",
    decimals=None,
    spreads="none",
)
# Choices that a user may change, by the field of the same name in the measure block.
SWITCHES = (
    "pooling",
    "at_threshold",
    "empty",
    "wrong_language",
    "perplexity_cap",
    "perplexity_terms",
    "dist_denominator",
)
CONVENTIONS = {convention.name: convention for convention in (PAPER, NEPLENBROEK, CORRECTED)}


def chosen(name: str, switches: Mapping[str, Any]) -> Convention:
    """Return the named convention, changed by the switches that are not None. Its label names the changes.

    Raises:
        ValueError: The convention is unknown, or a switch is not in SWITCHES.
    """
    if name not in CONVENTIONS:
        raise ValueError(f"measure.convention: {name!r} is not one of {', '.join(CONVENTIONS)}")
    convention = CONVENTIONS[name]
    for switch in switches:
        if switch not in SWITCHES:
            raise ValueError(f"measure.{switch}: no such choice; known: {', '.join(SWITCHES)}")
    changed = {
        choice: switches[choice]
        for choice in SWITCHES
        if switches.get(choice) is not None and switches[choice] != getattr(convention, choice)
    }
    label = "".join(
        f"+{choice}={value if isinstance(value, str) else format(value, '.15g')}" for choice, value in changed.items()
    )
    return replace(convention, name=name + label, **changed)
