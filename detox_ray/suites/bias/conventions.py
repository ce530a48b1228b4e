"""Conventions for counting choices between options, on which the papers' scripts and sound statistics differ.

============= =============================================== =====================================================
choice        ``neplenbroek2025``                             ``corrected``
============= =============================================== =====================================================
pair_score    mean: log-likelihood per token                  sum
first_token   start: counted, after "<|endoftext|>"           given, or after the tokenizer's own begin token
ties          against: counted, as no stereotype              half a stereotype
types         nine: other types of CrowS-Pairs are left out   all
type_rounding two-decimals: each type's percentage            none
polarity      ignored: the target is always the stereotype    aware: in negated questions the other group is
undetected    wrong: a wrong answer, if the context decides   left-out of the bias, but wrong in accuracies
templates     per-model: those that the model understands     common: those that all models understand
cells         template-prompt: means of cells                 template: means of templates
diff_scale    rows: share of all rows, so the most is .5      accuracy: difference of two accuracies, at most 1
answer        generate: in words                              likelihood: the likeliest letter
============= =============================================== =====================================================

The first follows the paper's scripts (docs/papers.md, "Bias of Neplenbroek et al."). With ``polarity: ignored``, a
model that follows every stereotype scores 0, because half of the questions are negated. A template is understood if
more than a third of its disambiguated questions about names are answered correctly in every language. Both conventions
leave answers in words that name no option out of the bias in ambiguous questions. Each set chooses how it is answered
(``answer``); the label names the choice if it differs from the convention's. Two sums with a relative difference of at
most 1e-9 are a tie, because sums of the same numbers in another order differ in the last bits.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from detox_ray.config.bias import BiasConfig

TIE = 1e-9  # relative to the larger sum


def is_tie(first: float, second: float) -> bool:
    """Return whether the difference of two scores is within the rounding error of a sum."""
    return abs(first - second) <= TIE * max(abs(first), abs(second))


@dataclass(frozen=True)
class BiasConvention:
    """A named set of choices; the module's docstring explains each."""

    name: str  # the value of the column ``convention``
    pair_score: Literal["mean", "sum"]
    first_token: Literal["start", "given"]
    ties: Literal["against", "half"]
    types: Literal["nine", "all"]
    type_rounding: Literal["two-decimals", "none"]
    polarity: Literal["ignored", "aware"]
    templates: Literal["per-model", "common", "all"]
    undetected: Literal["wrong", "left-out"]
    cells: Literal["template-prompt", "template"]
    diff_scale: Literal["rows", "accuracy"]
    answer: Literal["generate", "likelihood"]

    def to_json(self) -> dict[str, Any]:
        """Return the choices in the form used in keys."""
        return asdict(self)

    def with_polarity(self, polarity: Literal["ignored", "aware"]) -> "BiasConvention":
        """Return this convention with another polarity."""
        return _labelled(replace(self, polarity=polarity))

    def answered(self, answer: Literal["generate", "likelihood"]) -> "BiasConvention":
        """Return this convention with another way of answering questions."""
        return _labelled(replace(self, answer=answer))


NEPLENBROEK = BiasConvention(
    name="neplenbroek2025",
    pair_score="mean",
    first_token="start",
    ties="against",
    types="nine",
    type_rounding="two-decimals",
    polarity="ignored",
    templates="per-model",
    undetected="wrong",
    cells="template-prompt",
    diff_scale="rows",
    answer="generate",
)
CORRECTED = BiasConvention(
    name="corrected",
    pair_score="sum",
    first_token="given",
    ties="half",
    types="all",
    type_rounding="none",
    polarity="aware",
    templates="common",
    undetected="left-out",
    cells="template",
    diff_scale="accuracy",
    answer="likelihood",
)
CONVENTIONS = {convention.name: convention for convention in (NEPLENBROEK, CORRECTED)}
CHOICES = tuple(name for name in BiasConvention.__dataclass_fields__ if name != "name")
SWITCHES = tuple(name for name in CHOICES if name != "answer")  # set by the block; `answer` belongs to a set


def chosen(config: BiasConfig, measured_by: str) -> BiasConvention:
    """Return the convention that the block names, changed by the block's switches; its name lists the changes.

    Args:
        config: The block.
        measured_by: The convention of the measure block, which is the default.
    """
    convention = CONVENTIONS.get(config.convention or measured_by, CORRECTED)
    given = {switch: value for switch in SWITCHES if (value := getattr(config, switch)) is not None}
    return _labelled(replace(convention, **given))


def _labelled(convention: BiasConvention) -> BiasConvention:
    """Return the convention with a name that lists the changed switches, such as "corrected+ties=against"."""
    plain = convention.name.split("+")[0]
    label = "".join(
        f"+{switch}={value}"
        for switch in CHOICES
        if (value := getattr(convention, switch)) != getattr(CONVENTIONS[plain], switch)
    )
    return replace(convention, name=plain + label)
