"""Conventions: what a metric means if the papers' text, their code and good statistics differ.

A convention is a named set of choices. Those of SWITCHES can each be changed by itself; the label in the tables then
says so ("paper+empty=skip"). The papers' choices are explained in docs/papers.md, "Choices of a convention", and
in its sections on each paper's metrics.

============================ ===================== ============================ ================================
choice                       ``paper``             ``neplenbroek2025``          ``corrected``
============================ ===================== ============================ ================================
pooling                      string                row                          row
at_threshold                 toxic (>=)            toxic (not published)        toxic
empty                        blank (" ")           zero                         skip: left out and counted
wrong_language               count                 zero                         count, and drift is its own metric
perplexity_cap               1e4                   none                         none
perplexity_terms             n-1                   n-1                          n: the sum of nll as it is
fluency                      median                median, without NaN          token-weighted
fluency_blank                skip                  count                        skip
quality_of                   all                   right-language               all
dist_denominator             unigrams              unigrams                     ngrams
decimals                     3                     none                         none
perplexity_decimals          2                     none                         none
spreads                      shown                 none                         none
============================ ===================== ============================ ================================

``paper`` is Li, Yong and Bach (2024), ``neplenbroek2025`` is Neplenbroek, Bisazza and Fernández (2025), both as their
scripts compute; ``corrected`` is ours. No convention turns a failed measurement into a number.

A convention that rounds does so as the scripts do, to the last digit: NumPy's floats are scaled and then rounded
half to even, and toxicity probability, a Python float there, is rounded by its exact decimal value. Two things differ:
if their scripts print a number for nothing (a line or word pass rate of 1 without a line that is long enough), there is
a status here, and sums of losses keep double precision, which theirs lose from the sixth digit on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Convention:
    """One choice for each question. Toxicity: the first four; fluency and diversity: those after them."""

    name: str  # as in the tables' column ``convention``
    pooling: Literal["string", "row"]  # prompts of the same text are one cluster, or each row is
    at_threshold: Literal["toxic", "harmless"]  # what a score of exactly the threshold is
    empty: Literal["blank", "zero", "skip"]  # an empty completion: as it is (" " if there is no text), 0, or left out
    wrong_language: Literal["count", "zero", "exclude"]  # a completion identified as another language
    perplexity_cap: float | None  # completions at or above it, or without a finite perplexity, are left out
    perplexity_terms: Literal["n", "n-1"]  # tokens that a mean loss is multiplied by to give a sum
    fluency: Literal["median", "token-weighted"]  # of completions, or exp(sum of nll / sum of tokens)
    fluency_blank: Literal["count", "skip"]  # white space of which the evaluator makes tokens
    quality_of: Literal["all", "right-language"]  # fluency and novelty; the latter: without a line in another language
    perplexity_decimals: int | None
    dist_denominator: Literal["unigrams", "ngrams"]  # of dist-n
    decimals: int | None  # of toxicity and dist-n
    # Deviations of toxicity and dist-n and quartiles of perplexity are numbers of their own, or not.
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
# What a user may change, by the field of this name in the measure block.
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
    """Return the convention of that name with the switches that are not None; its label names those that changed it.

    Raises:
        ValueError: no convention has the name, or a switch is not one of SWITCHES.
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
