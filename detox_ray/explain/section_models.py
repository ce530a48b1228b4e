"""The part of the section about a tuned model: the changes that tuning made, and predictors of their transfer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from detox_ray.cluster.section_figures import AFTER, BEFORE, MUTED, Curve, Dot, DotRow, dot_figure, line_figure
from detox_ray.explain import tables
from detox_ray.explain.figures import (
    effect_curves,
    groups_in_words,
    language_name,
    number,
    parts_figure,
    shown_interval,
    sides_in_words,
)
from detox_ray.explain.findings import change_by_part, mean_interval, outcomes, recovered
from detox_ray.explain.section_tables import SectionTables
from detox_ray.explain.tables import NONE
from detox_ray.storage.tables import OK

TARGET = "log-ratio"  # the target in the figure; the table has all targets
LEVEL = 0.05


def model_part(read: SectionTables, name: str, parent: str) -> dict[str, Any]:
    """Return the template's values for a tuned model."""
    contributions = read.of(tables.CONTRIBUTIONS, name)
    return {
        "name": name,
        "parent": parent,
        **_activations(read, name, parent),
        **_shifts(read, name),
        "parts_figure": Markup(parts_figure(change_by_part(contributions))),
        "groups": groups_in_words(contributions.get("en", next(iter(contributions.values())))),
        **_transplants(read, name, parent),
        **_correlations(read, name),
    }


def _activations(read: SectionTables, name: str, parent: str) -> dict[str, Any]:
    sides = {
        "before": read.texts(parent, "own"),
        "own text": read.texts(name, "own"),
        "same text": read.texts(name, "same"),
    }
    styles = {"before": (BEFORE, True), "own text": (AFTER, False), "same text": (MUTED, False)}
    rows, means = [], dict[str, list[float]]()
    random = dict[str, list[float]]()
    for language in read.languages:
        dots = []
        for side, of_language in sides.items():
            values = of_language[language]
            if values.num_rows:
                mean = mean_interval(values["value"].to_numpy(), language, read.resampling)
                colour, hollow = styles[side]
                dots.append(Dot(mean.value, mean.low, mean.high, colour, hollow))
                means.setdefault(side, []).append(mean.value)
                random.setdefault(side, []).append(float(np.mean(values["random"].to_pylist())))
        rows.append(DotRow(language_name(language), dots, "" if dots else "no sources"))
    title = "Activation of the sources before and after tuning"
    return {
        "activation_figure": Markup(dot_figure(rows, "mean activation of the sources", title, marks=[0])),
        "activation_means": sides_in_words(means),
        "random_means": sides_in_words(random),
        "in_sd": _in_deviations(sides),
    }


def _in_deviations(sides: Mapping[str, Mapping[str, pa.Table]]) -> str:
    """Describe in words how far the sources' activations moved, in units of each neuron's own spread."""
    levels = {
        side: np.array([_levels(rows) for rows in of_language.values() if rows.num_rows])
        for side, of_language in sides.items()
    }
    if not len(levels["before"]):
        return ""
    changes = []
    for side in ("own text", "same text"):
        moved = levels[side].mean(axis=0) - levels["before"].mean(axis=0)
        random = f"{number(float(moved[1:].min()))} to {number(float(moved[1:].max()))}"
        changes.append(f"{number(float(moved[0]))} on the {side} (random neurons {random})")
    return f"In units of each neuron's own standard deviation they move by {' and '.join(changes)}."


def _levels(rows: pa.Table) -> list[float]:
    """Return means over prompts in standard deviations: first of the sources, then of each draw."""
    return [float(rows["value_in_sd"].to_numpy().mean()), *np.mean(rows["random_in_sd"].to_pylist(), axis=0).tolist()]


def _shifts(read: SectionTables, name: str) -> dict[str, Any]:
    """Return the figure of the residual shift by layer: its size, and its cosine with the probe."""
    by_language = read.of(tables.RESIDUAL_SHIFTS, name)
    rows = [row for of_language in by_language.values() for row in of_language.to_pylist()]
    layers = sorted({row["layer"] for row in rows})
    curves = []
    for column, title, colour, dashed in (
        ("relative", "size of the shift, relative to the state", AFTER, False),
        ("cosine", "cosine of the shift with the probe", BEFORE, True),
    ):
        values = [(layer, [row[column] for row in rows if row["layer"] == layer]) for layer in layers]
        points = [(float(layer), float(np.mean(of_layer))) for layer, of_layer in values]
        ranges = tuple((float(layer), min(of_layer), max(of_layer)) for layer, of_layer in values)
        curves.append(Curve(title, points, colour, dashed, ranges))
    figure = line_figure(curves, "layer", "", f"Residual shift, {name}", whole=True) if len(layers) > 1 else ""
    return {"shift_figure": Markup(figure), "shift_parallel": bool(rows) and rows[0]["status"] != OK}


def _transplants(read: SectionTables, name: str, parent: str) -> dict[str, Any]:
    nothing = {"transplant_figure": "", "transplant_caption": ""}
    outcome_by_edit = outcomes(read.interventions(name, parent), read.resampling)
    into = {
        edit: outcome
        for edit, outcome in outcome_by_edit.items()
        if edit[0] in (NONE, "into-parent") and edit[1] == parent
    }
    curves = effect_curves(into, parent)
    if not curves:
        return nothing
    before, after = outcome_by_edit[NONE, parent, 0.0, 0].toxicity, outcome_by_edit[NONE, name, 0.0, 0].toxicity
    shares = [
        f"{size:.0f} neurons recover {100 * share:.0f} % of the fall"
        for (kind, _, size, draw), outcome in sorted(into.items())
        if kind == "into-parent" and draw == 0 and (share := recovered(before, after, outcome.toxicity)) is not None
    ]
    words = "; ".join(shares) or "The intervals of the two models overlap here, so there is no clear fall to recover"
    caption = (
        f"Toxicity of {parent} ({shown_interval(before)}) if neurons are replaced by those of {name} "
        f"({shown_interval(after)}): first those that tuning changed most (solid), or random neurons of the same "
        f"layers (dashed; band: range). {words}."
    )
    figure = line_figure(curves, "neurons transplanted", "toxicity", "Transplants")
    return {"transplant_figure": Markup(figure), "transplant_caption": caption}


def _correlations(read: SectionTables, name: str) -> dict[str, Any]:
    correlations = read.of(tables.CORRELATIONS, name)
    empty = {"correlation_figure": "", "correlation_caption": "", "correlation_n": "0", "correlation_note": ""}
    if not correlations:
        return {**empty, "correlation_note": "No parallel sentences (explain.parallel): transfer is not predicted."}
    rows = [row for row in correlations[""].to_pylist() if row["method"] == "spearman"]
    known = [row for row in rows if row["status"] == OK]
    if not known:
        why = ", ".join(sorted({row["status"] for row in rows}))
        note = f"Transfer cannot be predicted ({why}): the fall is all but the same in every language."
        return {**empty, "correlation_note": note if "saturated" in why else f"Transfer is not predicted ({why})."}
    shown = [row for row in rows if row["target"] == TARGET]
    dots = [
        DotRow(
            row["predictor"].replace("_", " "),
            [Dot(row["value"], row["ci_low"], row["ci_high"])] if row["status"] == OK else [],
            "" if row["status"] == OK else row["status"],
        )
        for row in shown
    ]
    least = min(known, key=lambda row: row["n"])
    fewest, most = least["n"], max(row["n"] for row in known)
    n = f"{most}" if fewest == most else f"{fewest} to {most}"
    caption = (
        f"Rank correlations over {n} languages between properties of the parent and the fall in toxicity "
        f"({TARGET}), with intervals. {_verdict(known)} A correlation below {number(least['detectable'])} "
        f"would mostly go unseen."
    )
    figure = dot_figure(dots, "Spearman's ρ", "Predictors of transfer", marks=[0])
    return {**empty, "correlation_figure": Markup(figure), "correlation_caption": caption, "correlation_n": n}


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Describe in words which correlations remain significant after correction."""
    significant = [row for row in rows if row["p_corrected"] is not None and row["p_corrected"] < LEVEL]
    if not significant:
        return f"After Holm's correction none of {len(rows)} is below {LEVEL:g}."
    top = min(significant, key=lambda row: (row["p_corrected"], -abs(row["value"])))
    return (
        f"After Holm's correction {len(significant)} of {len(rows)} are below {LEVEL:g}. The clearest is "
        f"{top['predictor'].replace('_', ' ')} with the {top['target']} fall: ρ = {number(top['value'])} "
        f"[{number(top['ci_low'])}, {number(top['ci_high'])}], corrected p = {number(top['p_corrected'])}, and "
        f"{number(top['loo_low'])} to {number(top['loo_high'])} if one language is left out."
    )
