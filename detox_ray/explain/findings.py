"""The numbers of the explain section of the report, computed from the stage's tables; figures are drawn elsewhere."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.explain.attribution import Contributions
from detox_ray.measure.resampling import Resampling, percentile_interval, weights

Floats = NDArray[np.float64]
RANKED = 20  # number of value vectors whose tokens are shown and counted


class Interval(NamedTuple):
    """A value with its interval, if there is something to resample."""

    value: float
    low: float | None
    high: float | None


def mean_interval(values_P: Floats, language: str, resampling: Resampling) -> Interval:
    """Return the mean over prompts with its interval."""
    value = float(values_P.mean())
    if len(values_P) < 2:
        return Interval(value, None, None)
    draws = np.concatenate([block @ values_P for block in weights(len(values_P), language, resampling)]) / len(values_P)
    return Interval(value, *percentile_interval(draws, resampling.confidence))


class InsultShare(NamedTuple):
    """The share of insults among the tokens that value vectors write."""

    share: float
    languages: float  # number of languages in which a vector writes an insult, mean over vectors


def insult_shares(neurons: pa.Table) -> dict[int, InsultShare] | None:
    """Return {draw: share} for the first `RANKED` value vectors (draw 0) and for their partners.

    The result is None if the experiment has no lexicon.
    """
    of_draw: dict[int, list[list[list[str]]]] = {}
    for row in neurons.select(["rank", "draw", "token_languages"]).to_pylist():
        if row["token_languages"] is None:
            return None
        if row["rank"] < RANKED:
            of_draw.setdefault(row["draw"], []).append(row["token_languages"])
    return {
        draw: InsultShare(
            float(np.mean([bool(codes) for vector in vectors for codes in vector])),
            float(np.mean([len({code for codes in vector for code in codes}) for vector in vectors])),
        )
        for draw, vectors in sorted(of_draw.items())
    }


class Outcome(NamedTuple):
    """The effect of one edit, as means over languages."""

    toxicity: Interval
    perplexity: float | None  # of harmless texts
    consistency: float | None  # share of the completions in the language of their prompt


Edit = tuple[str, str, float, int]  # intervention, edited model, amount, draw


Ratios = dict[Edit, dict[str, dict[str, tuple[Floats, Floats]]]]  # edit -> quantity -> language -> totals, counts


def outcomes(rows: pa.Table, resampling: Resampling) -> dict[Edit, Outcome]:
    """Return the outcome of each edit, as means over the languages that have the quantity under every edit.

    Otherwise an edit that leaves nothing to judge in a toxic language would seem to lower toxicity.

    Args:
        rows: rows of INTERVENTIONS.
        resampling: how prompts are resampled, within each language.
    """
    ratios = _ratios(rows)
    common = _common(ratios)
    kept = {
        edit: {name: [(code, *parts[name][code]) for code in parts[name] if code in common[name]] for name in parts}
        for edit, parts in ratios.items()
    }
    found = {edit: {name: each for name, each in parts.items() if each} for edit, parts in kept.items()}
    return {edit: _outcome(parts, resampling) for edit, parts in found.items() if "toxicity" in parts}


def unjudged_languages(rows: pa.Table) -> list[str]:
    """Return the languages that `outcomes` leaves out of toxicity, since an edit leaves nothing to judge in them."""
    ratios = _ratios(rows)
    everywhere = _common(ratios).get("toxicity", set())
    return sorted({code for parts in ratios.values() for code in parts.get("toxicity", {})} - everywhere)


def _ratios(rows: pa.Table) -> Ratios:
    sums: dict[Edit, dict[tuple[str, str], list[tuple[float, int]]]] = {}  # edit -> (quantity, language) -> sums
    for row in rows.to_pylist():
        edit: Edit = (row["intervention"], row["edited"], row["amount"], row["draw"])
        of_edit = sums.setdefault(edit, {})
        of_edit.setdefault((row["quantity"], row["language"]), []).append((row["total"], row["count"]))
    ratios: Ratios = {}
    for edit, of_edit in sums.items():
        for (quantity, language), pairs in of_edit.items():
            totals, counts = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
            if counts.sum():
                ratios.setdefault(edit, {}).setdefault(quantity, {})[language] = totals, counts
    return ratios


def _common(ratios: Ratios) -> dict[str, set[str]]:
    """Return quantity -> the languages in which every edit has it; edits that have it nowhere do not count."""
    common: dict[str, set[str]] = {}
    for parts in ratios.values():
        for name, of_language in parts.items():
            common[name] = common.get(name, set(of_language)) & of_language.keys()
    return common


def _outcome(parts: Mapping[str, list[tuple[str, Floats, Floats]]], resampling: Resampling) -> Outcome:
    means = {name: [totals.sum() / counts.sum() for _, totals, counts in each] for name, each in parts.items()}
    draws = np.mean([_draws(*part, resampling) for part in parts["toxicity"]], axis=0)
    low, high = percentile_interval(draws[np.isfinite(draws)], resampling.confidence)
    return Outcome(
        Interval(float(np.mean(means["toxicity"])), low, high),
        float(np.mean(np.exp(means["nll"]))) if "nll" in means else None,
        float(np.mean(means["language"])) if "language" in means else None,
    )


def _draws(language: str, totals: Floats, counts: Floats, resampling: Resampling) -> Floats:
    sums = np.concatenate(
        [block @ np.stack([totals, counts], 1) for block in weights(len(totals), language, resampling)]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        draws: Floats = sums[:, 0] / sums[:, 1]
    return draws


def recovered(parent: Interval, model: Interval, patched: Interval) -> float | None:
    """Return the share of the fall that a transplant into the parent reproduces.

    The result is None if the intervals of model and parent overlap, so that there is no clear fall.
    """
    if parent.low is None or model.high is None or model.high >= parent.low:
        return None
    return (parent.value - patched.value) / (parent.value - model.value)


def change_by_part(tables: Mapping[str, pa.Table]) -> dict[str, list[float]]:
    """Return {part: each layer's change along the probe}, mean over languages, from {language: CONTRIBUTIONS}."""
    parts: dict[str, Floats] = {}
    for rows in tables.values():
        for row in rows.to_pylist():
            for part in ("activation", "value", "interaction"):
                layers = parts.setdefault(part, np.zeros(rows.num_rows))
                layers[row["layer"]] += float(np.sum(row[part])) / len(tables)
    return {part: layers.tolist() for part, layers in parts.items()}


def contributions_of(rows: pa.Table) -> tuple[list[Contributions], list[NDArray[np.str_]]]:
    """Return the parts and groups of each layer from rows of CONTRIBUTIONS."""
    ordered = sorted(rows.to_pylist(), key=lambda row: row["layer"])
    parts = [Contributions(*(np.array(row[part]) for part in Contributions._fields)) for row in ordered]
    return parts, [np.array(row["group"]) for row in ordered]
