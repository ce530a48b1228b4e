"""The part of the section about a parent: where toxicity is written, and the effect of offsets on those neurons."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from detox_ray.cluster.section_figures import HeatCell, heat_figure, line_figure
from detox_ray.explain import tables
from detox_ray.explain.figures import (
    effect_curves,
    language_name,
    layers_figure,
    number,
    probe_figure,
    shown_interval,
)
from detox_ray.explain.findings import RANKED, Edit, Outcome, insult_shares, outcomes, unjudged_languages
from detox_ray.explain.section_tables import SectionTables

SHOWN_TOKENS = 12


def parent_part(read: SectionTables, name: str) -> dict[str, Any]:
    """Return the template's values for a parent."""
    probes = read.of(tables.PROBES, name)[""].to_pylist()
    neurons = read.of(tables.NEURONS, name)[""]
    sources = {row["rank"]: row["source"] for row in read.of(tables.SOURCES, name)[""].to_pylist()}
    shares = insult_shares(neurons)
    shown = [row for row in neurons.to_pylist() if row["draw"] == 0][:RANKED]
    random = [share for draw, share in (shares or {}).items() if draw]
    layer = read.config.probe.layer
    return {
        "name": name,
        "method": probes[0]["method"],
        "reads": f"that enter block {layer}" if isinstance(layer, int) else "after the final norm",
        "source": {"pairs": "preference pairs", "labelled": "labelled texts"}[probes[0]["source"]],
        "probe_figure": Markup(probe_figure(probes, read.languages)),
        "candidates": len(sources),
        "sources": sum(sources.values()),
        "tokens": len(shown[0]["tokens"]),
        "ranked": len(shown),
        "shares": shares
        and {
            "own": f"{100 * shares[0].share:.0f} %",
            "languages": f"{shares[0].languages:.1f}",
            "random": f"{100 * np.mean([share.share for share in random]):.0f} %",
            "random_languages": f"{np.mean([share.languages for share in random]):.1f}",
        },
        "vectors": [
            {
                "layer": row["layer"],
                "neuron": row["neuron"],
                "cosine": f"{row['cosine']:.2f}",
                "source": sources[row["rank"]],
                "tokens": "  ".join(token.strip() or "␣" for token in row["tokens"][:SHOWN_TOKENS]),
            }
            for row in shown
        ],
        "draws": read.config.random,
        "layers_figure": Markup(layers_figure(probes)),
        **_overlaps(read, name),
        **_doses(read, name),
    }


def _doses(read: SectionTables, name: str) -> dict[str, Any]:
    rows = read.interventions(name)
    edited = outcomes(rows, read.resampling)
    curves = effect_curves(edited, name)
    unjudged = ", ".join(map(language_name, unjudged_languages(rows)))
    if not curves:
        return {"dose_figure": "", "dose_costs": [], "dose_unjudged": unjudged}
    doses = [
        {
            "amount": number(amount),
            "toxicity": shown_interval(outcome.toxicity),
            "perplexity": number(outcome.perplexity),
            "consistency": number(outcome.consistency),
            "random": _of_draws(edited, amount),
        }
        for (_, _, amount, draw), outcome in sorted(edited.items(), key=lambda each: -each[0][2])
        if draw == 0
    ]
    figure = line_figure(curves, "added to each source", "toxicity", "Dose and response")
    return {"dose_figure": Markup(figure), "dose_costs": doses, "dose_unjudged": unjudged}


def _of_draws(edited: Mapping[Edit, Outcome], amount: float) -> dict[str, str]:
    """Return the mean effect of a dose on matched draws."""
    draws = [outcome for (_, _, dose, draw), outcome in edited.items() if draw and dose == amount]

    def mean(values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        return number(float(np.mean(known)) if known else None)

    return {
        "toxicity": mean([outcome.toxicity.value for outcome in draws]),
        "perplexity": mean([outcome.perplexity for outcome in draws]),
        "consistency": mean([outcome.consistency for outcome in draws]),
    }


def _overlaps(read: SectionTables, name: str) -> dict[str, Any]:
    """Return the matrix of overlaps between languages' strongest neurons, coloured by the excess over chance."""
    rows = read.of(tables.LANGUAGE_OVERLAPS, name)[""].to_pylist()
    if not rows:
        return {"overlap_figure": "", "overlap": {}}
    by_pair = {frozenset((row["language"], row["other"])): row for row in rows}
    heat = []
    for one in read.languages:
        cells: list[HeatCell | None] = []
        for other in read.languages:
            row = by_pair.get(frozenset((one, other)))
            cells.append(row and _overlap_cell(row))
        heat.append((language_name(one), cells))
    return {
        "overlap_figure": Markup(heat_figure(heat, read.languages, f"Neurons that languages share, {name}")),
        "overlap": {
            "neurons": rows[0]["neurons"],
            "mean": number(float(np.mean([row["jaccard"] for row in rows]))),
            "chance": number(float(np.mean([row["chance"] for row in rows]))),
        },
    }


def _overlap_cell(row: dict[str, Any]) -> HeatCell:
    spoken = f"{number(row['jaccard'])}, by chance {number(row['chance'])}"
    return HeatCell(f"{100 * row['jaccard']:.0f}", spoken, row["jaccard"] - row["chance"])
