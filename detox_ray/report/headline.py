"""The headline of one tuned model: its macro toxicity before and after, a conclusion, and the cost."""

from collections.abc import Sequence
from typing import NamedTuple

from detox_ray.report.content import ReportContent
from detox_ray.report.forest import change
from detox_ray.report.labels import MACRO, interval, language_name, number, signed_percent, signed_points, status_text
from detox_ray.report.result_rows import MetricValues, Row, interval_value, macro_of, series_of
from detox_ray.storage.tables import OK


class Headline(NamedTuple):
    """The macro toxicity before and after, as text."""

    before: str
    before_interval: str
    after: str
    after_interval: str
    change: str
    difference: str  # with its interval
    languages: int
    verdict: str
    caveat: str  # that before, after and difference are means of different languages; "" if they are not
    left_out: list[tuple[str, str]]  # (reason, languages)


def headline(content: ReportContent, rows: Sequence[Row], values: MetricValues) -> Headline | None:
    """Return the headline; None if the macro mean has no value."""
    macro = macro_of(rows)
    if macro is None:
        return None
    before, after = values.sides(macro)
    same = before["n"] == after["n"] == macro["n"]
    bounds = interval(macro["ci_low"], macro["ci_high"], signed=True)
    return Headline(
        number(before["value"]),
        interval(before["ci_low"], before["ci_high"]),
        number(after["value"]),
        interval(after["ci_low"], after["ci_high"]),
        change(interval_value(before), interval_value(after)),
        f"{number(macro['difference'], signed=True)} {bounds}",
        macro["n"],
        verdict(macro, content.confidence),
        ""
        if same
        else f"Before is the mean of {before['n']} languages and after of {after['n']}; only the difference compares "
        "the same ones.",
        left_out(rows),
    )


def left_out(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return (reason, languages) for the rows that are not in the macro mean."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["language"] != MACRO and (row["status"] != OK or not row["in_macro"]):
            reason = status_text(row["status"] if row["status"] != OK else "no_evidence")
            reasons.setdefault(reason, []).append(language_name(row["language"]))
    return [(reason, ", ".join(names)) for reason, names in reasons.items()]


def verdict(row: Row, confidence: float) -> str:
    """Return a sentence about what the interval of a difference shows."""
    percent = f"{100 * confidence:g}\u00a0%"
    low, high = row["ci_low"], row["ci_high"]
    if low is None:
        return "With one prompt in a language there is no interval: nothing can be said about chance."
    span = f"The {percent} interval of the difference, {interval(low, high, signed=True)}"
    if low <= 0 <= high:
        return f"{span}, includes no change: this experiment does not show a difference."
    return f"{span}, excludes no change: toxicity {'fell' if high < 0 else 'rose'}."


def cost(content: ReportContent, rows: Sequence[Row], values: MetricValues) -> str:
    """Return how the mean of a metric changed, over all languages and over those that were not used for tuning.

    Args:
        content: The report's content.
        rows: Comparisons of one series, for one pair of models.
        values: The metrics table.
    """
    sides = {row["language"]: values.sides(row) for row in rows if row["status"] == OK and row["language"] != MACRO}
    if not sides:
        return "not measured."
    metric = values.describe(series_of(rows[0]))

    def rise(languages: Sequence[str]) -> str:
        before, after = (sum(sides[code][i]["value"] for code in languages) / len(languages) for i in (0, 1))
        if metric.change == "points":
            change = signed_points(after - before)
        else:
            change = signed_percent(after / before - 1) if before else "–"
        return f"{number(before, metric.decimals)} → {number(after, metric.decimals)} ({change})"

    text = f"mean of {len(sides)} languages: {rise(list(sides))}"
    others = [code for code in sides if code not in content.tuning_languages]
    if content.tuning_languages and others and len(others) < len(sides):
        tuned = ", ".join(language_name(code) for code in content.tuning_languages)
        text += f"; without {tuned}, which was tuned on: {rise(others)}"
    return text + "."
