"""Figures and sentences of the explain section of the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from detox_ray.cluster.section_figures import AFTER, BEFORE, MUTED, Curve, Dot, DotRow, dot_figure, line_figure
from detox_ray.config.languages import LANGUAGES
from detox_ray.explain.attribution import GROUPS, summary
from detox_ray.explain.findings import Edit, Interval, Outcome, contributions_of
from detox_ray.explain.tables import NONE


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def language_name(language: str) -> str:
    return LANGUAGES[language].name if language in LANGUAGES else language


def sides_in_words(values: dict[str, list[float]]) -> str:
    return ", ".join(f"{side} {number(float(np.mean(of_side)))}" for side, of_side in values.items())


def shown_interval(value: Interval) -> str:
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def probe_figure(rows: list[dict[str, Any]], languages: list[str]) -> str:
    styles = {"none": (AFTER, False), "shuffled": (BEFORE, True), "length": (MUTED, True)}
    by_language: dict[str, list[Dot]] = {}
    for row in rows:
        if row["split"] == "labelled" and row["auroc"] is not None and row["layer"] is None:
            colour, hollow = styles[row["control"]]
            low, high = (row["ci_low"], row["ci_high"]) if row["control"] != "length" else (None, None)
            by_language.setdefault(row["language"], []).append(Dot(row["auroc"], low, high, colour, hollow))
    if not by_language:
        return ""
    shown = [DotRow(language_name(language), by_language.get(language, [])) for language in languages]
    return dot_figure(shown, "AUROC", "How well the probe detects toxic texts", marks=[0.5])


def layers_figure(rows: list[dict[str, Any]]) -> str:
    """Return the figure of a probe's AUROC in each layer, the last after the final norm; "" without such probes.

    Args:
        rows: rows of PROBES.
    """
    after_norm = 1 + max((row["layer"] for row in rows if row["layer"] is not None), default=-1)
    by_layer: dict[int, list[float]] = {}
    for row in rows:
        if (row["split"], row["control"]) == ("labelled", "none") and row["auroc"] is not None:
            layer = after_norm if row["layer"] is None else row["layer"]
            by_layer.setdefault(layer, []).append(row["auroc"])
    layers = sorted(by_layer)
    points = [(float(layer), float(np.mean(by_layer[layer]))) for layer in layers]
    ranges = tuple((float(layer), min(by_layer[layer]), max(by_layer[layer])) for layer in layers)
    curves = [Curve("mean over languages", points, band=ranges)] if len(layers) > 1 else []
    title = "How well a probe on each layer does"
    return line_figure(curves, "layer the probe reads", "AUROC", title, whole=True)


def effect_curves(outcome_by_edit: Mapping[Edit, Outcome], edited: str) -> list[Curve]:
    """Return the curve of the chosen neurons with its interval, and the curve of the matched draws with its range."""
    untouched = outcome_by_edit.get((NONE, edited, 0.0, 0))
    amounts = sorted({amount for kind, _, amount, _ in outcome_by_edit if kind != NONE})
    if untouched is None or not amounts:
        return []
    chosen, random = {0.0: untouched.toxicity}, {0.0: [untouched.toxicity.value]}
    for (kind, _, amount, draw), outcome in outcome_by_edit.items():
        if kind != NONE and draw == 0:
            chosen[amount] = outcome.toxicity
        elif kind != NONE:
            random.setdefault(amount, []).append(outcome.toxicity.value)
    points = sorted((amount, outcome.value) for amount, outcome in chosen.items())
    band = sorted(
        (amount, each.value if each.low is None else each.low, each.value if each.high is None else each.high)
        for amount, each in chosen.items()
    )
    control = sorted((amount, float(np.mean(values))) for amount, values in random.items())
    ranges = sorted((amount, min(values), max(values)) for amount, values in random.items())
    return [
        Curve("chosen neurons", points, AFTER, band=tuple(band)),
        Curve("random neurons", control, MUTED, dashed=True, band=tuple(ranges)),
    ]


def _bar(value: float, colour: str) -> Dot:
    return Dot(value, min(0.0, value), max(0.0, value), colour)


def parts_figure(parts: dict[str, list[float]]) -> str:
    letters = {"activation": "A", "value": "V", "interaction": "I"}
    colours = {"activation": AFTER, "value": BEFORE, "interaction": MUTED}
    rows = [
        DotRow(
            f"layer {layer}, {letters[part]}",
            [Dot(values[layer], min(0, values[layer]), max(0, values[layer]), colours[part])],
        )
        for layer in range(len(parts["activation"]))
        for part, values in parts.items()
    ]
    return dot_figure(rows, "change along the probe", "Parts of the change", marks=[0]) if len(rows) <= 120 else ""


def groups_in_words(rows: pa.Table) -> str:
    """Describe in words how the change in English is spread over groups and neurons."""
    result = summary(*contributions_of(rows))
    groups = ", ".join(
        f"{group} {number(result.group_parts[group])} ({result.group_sizes[group]} neurons)" for group in GROUPS
    )
    counts = {percent: count for percent, count in result.neurons_for.items() if count is not None}
    needed = ", ".join(f"{count} for {percent} %" for percent, count in counts.items())
    return (
        f"In English the net change is {number(result.net)}; the activation parts by group are {groups}. Changes in "
        f"the opposite direction sum to {number(result.counteracting)}. Neurons needed to reach a share of the net "
        f"change, largest changes first: {needed}."
    )
