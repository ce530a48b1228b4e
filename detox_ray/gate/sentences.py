"""The words of a verdict: what moved, from where to where, by how much, and what is allowed."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.config.gate import MACRO, MarginRule, ToxicityRule
from detox_ray.config.languages import LANGUAGES
from detox_ray.storage.metric_spec import Ideal, MetricDescription

Sides = tuple[float | None, float | None]  # the parent's and the model's own value
Interval = tuple[float, float, float]  # value, low, high
_FEW_POINTS = 0.1  # a smaller change of a share, or of a ratio, is written with a decimal


class BoundWords(NamedTuple):
    asked: str
    allowed: str


class Numbers(NamedTuple):
    """The numbers that decided a finding, as text for a table."""

    values: str  # "99 % → 19 %", or the bounded number with its interval if the values are not known
    change: str  # "−80 points [−83, −77]"; "" if there is nothing more to say

    def __str__(self) -> str:
        return f"{self.values} ({self.change})" if self.change else self.values


NOTHING = Numbers("–", "")


def language_name(code: str) -> str:
    """Return a language's English name; a code that is not known stays."""
    return LANGUAGES[code].name if code in LANGUAGES else code


def place(language: str, count: int | None) -> str:
    """Return what a sentence is about: a language, or the mean over languages."""
    if language != MACRO:
        return language_name(language)
    return f"Mean of {count} languages" if count else "Mean of languages"


def subject(metric: MetricDescription, title: str) -> str:
    """Return a metric as the subject of a sentence: "perplexity of harmless text", "the share of completions …"."""
    return f"the {metric.meaning}" if metric.meaning.startswith("share of") else lower_first(title)


def lower_first(text: str) -> str:
    """Return a title inside a sentence."""
    return text[:1].lower() + text[1:]


def amount(metric: MetricDescription, size: float) -> str:
    """Write a size of a difference: "5 points", "0.05"."""
    if metric.change == "points":
        return f"{100 * size:.3g}\u00a0point{'' if size == 0.01 else 's'}"
    return f"{size:.3g}"


def margin_words(rule: MarginRule, metric: MetricDescription) -> BoundWords:
    """Write the bound of a margin."""
    if rule.max_ratio is not None and rule.max_ratio < 1:
        return _fall(f"{100 * (1 - rule.max_ratio):.3g}\u00a0%")
    if rule.max_ratio is not None:
        size = f"{100 * (rule.max_ratio - 1):.3g}\u00a0%"
        return BoundWords(f"at most {size} higher", f"a rise of at most {size} is allowed")
    if rule.max_increase is not None:
        size = amount(metric, rule.max_increase)
        return BoundWords(f"at most {size} higher", f"a rise of at most {size} is allowed")
    if rule.max_decrease is not None:
        size = amount(metric, rule.max_decrease)
        return BoundWords(f"at most {size} lower", f"a fall of at most {size} is allowed")
    assert rule.max_distance is not None and isinstance(metric.direction, Ideal)
    distance = f"at most {rule.max_distance:g} from {metric.direction.value:g}"
    return BoundWords(distance, f"{distance} is allowed")


def toxicity_words(rule: ToxicityRule, metric: MetricDescription) -> BoundWords:
    """Write the bound of the toxicity rule."""
    if rule.reduction is not None:
        return _fall(amount(metric, rule.reduction))
    assert rule.relative_reduction is not None
    return _fall(f"{100 * rule.relative_reduction:.3g}\u00a0%")


def _fall(size: str) -> BoundWords:
    return BoundWords(f"at least {size} lower", f"a fall of at least {size} is required")


def movement(metric: MetricDescription, quantity: str, sides: Sides, interval: Interval) -> str:
    """Write how a value moved, as the predicate of a sentence: "fell from 99 % to 19 % (−80 points [−83, −77])"."""
    before, after = sides
    bracket = _quantity(metric, quantity, interval)
    if quantity == "value":
        return f"is {bracket}"
    if before is None or after is None:
        return f"changed by {bracket}"
    start, end = (_value(metric, side, after - before) for side in (before, after))
    if start == end:
        return f"stayed at {end} ({bracket})"
    return f"{'fell' if after < before else 'rose'} from {start} to {end} ({bracket})"


def numbers(metric: MetricDescription, quantity: str, sides: Sides, interval: Interval) -> Numbers:
    """Write the same for a table."""
    before, after = sides
    bracket = _quantity(metric, quantity, interval)
    if quantity == "value" or before is None or after is None:
        return Numbers(bracket, "")
    start, end = (_value(metric, side, after - before) for side in (before, after))
    return Numbers(f"{start}\u00a0→\u00a0{end}", bracket)


def listed(words: Sequence[str]) -> str:
    """Join words: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _value(metric: MetricDescription, value: float, difference: float) -> str:
    """Write a value, a share in per cent."""
    if metric.change == "points":
        return f"{100 * value:.{_decimals(difference)}f}\u00a0%"
    return _signed(value, metric.decimals, "").lstrip("+")


def _quantity(metric: MetricDescription, quantity: str, interval: Interval) -> str:
    """Write the number that a bound is on, with its interval."""
    value, low, high = interval
    if quantity == "ratio":
        value, low, high = value - 1, low - 1, high - 1
    if quantity == "ratio" or (quantity == "difference" and metric.change == "points"):
        decimals = _decimals(value)
        unit = "\u00a0%" if quantity == "ratio" else "\u00a0points"
        value, low, high = 100 * value, 100 * low, 100 * high
    else:
        decimals, unit = metric.decimals, ""
    sign = "" if quantity == "value" else "+"
    ends = f"[{_signed(low, decimals, sign)},\u00a0{_signed(high, decimals, sign)}]"
    return f"{_signed(value, decimals, sign)}{unit} {ends}"


def _decimals(share: float) -> int:
    return 1 if abs(share) < _FEW_POINTS else 0


def _signed(value: float, decimals: int, plus: str) -> str:
    """Write a number with a real minus sign, and with ``plus`` in front of a positive one."""
    text = f"{abs(value):.{decimals}f}"
    sign = "" if float(text) == 0 else "−" if value < 0 else plus
    return f"{sign}{text}"
