"""The report's section "Why": figures from the stage's tables, each with what it does not show."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detox_ray.cluster.section_figures import AFTER, BEFORE, MUTED, Dot, DotRow, dot_figure, line_figure
from detox_ray.cluster.stage import Context, Section
from detox_ray.explain import tables
from detox_ray.explain.figures import (
    effect_curves,
    groups_in_words,
    language_name,
    number,
    parts_figure,
    probe_figure,
    shown_interval,
    sides_in_words,
)
from detox_ray.explain.findings import (
    RANKED,
    Edit,
    Outcome,
    change_by_part,
    insult_shares,
    mean_interval,
    outcomes,
    recovered,
)
from detox_ray.explain.plan import Explained
from detox_ray.explain.tables import NONE
from detox_ray.storage import Table, Unit, UnitTables
from detox_ray.storage.tables import OK

EXPORTED = (
    tables.PROBES,
    tables.NEURONS,
    tables.SOURCES,
    tables.SOURCE_ACTIVATIONS,
    tables.INTERVENTIONS,
    tables.PREDICTORS,
    tables.CORRELATIONS,
)
NOT_EXPORTED = ("weights", "bias")  # of a probe: a number for each dimension
SHOWN_TOKENS = 12
TARGET = "log-ratio"  # of the figure; all targets are in the table
LEVEL = 0.05


def section(context: Context, explained: Explained) -> Section:
    """Return the section."""
    pages = _Section(context, explained)
    environment = Environment(
        loader=PackageLoader("detox_ray", "explain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("section.html").render(
        parents=[pages.parent(name) for name in explained.sources_of],
        models=[pages.model(name, parent) for name, parent in explained.parents.items()],
        convention=explained.settings.convention.name,
        confidence=f"{100 * explained.settings.resampling.confidence:g} %",
    )
    return Section("why", "Why", html, exported(context))


def exported(context: Context) -> dict[str, pa.Table]:
    """Return the tables that are one number or word a cell, with the keys of their units. Lists are JSON."""
    rows_by_name: dict[str, pa.Table] = {}
    for table in EXPORTED:
        parts = [_with_keys(context.store.read(unit, key), unit) for unit, key in context.units(table).items()]
        if parts:
            rows_by_name[table.name] = pa.concat_tables(parts)
    return rows_by_name


def _with_keys(rows: pa.Table, unit: Unit) -> pa.Table:
    columns = {name: pa.array([value] * rows.num_rows, pa.string()) for name, value in unit.keys}
    for field in rows.schema:
        if field.name in NOT_EXPORTED:
            continue
        column = rows[field.name]
        if pa.types.is_list(field.type):
            cells = [None if row is None else json.dumps(row, ensure_ascii=False) for row in column.to_pylist()]
            column = pa.array(cells, pa.string())
        columns[field.name] = column
    return pa.table(columns)


class _Section:
    def __init__(self, context: Context, explained: Explained):
        self._context, self._explained = context, explained
        self._resampling = explained.settings.resampling
        self._languages = context.experiment.languages

    def _tables(self, table: Table, model: str) -> dict[Any, pa.Table]:
        """Return a model's rows by the keys that follow or precede the model's, joined; all rows under ""."""
        units = {unit: key for unit, key in self._context.units(table).items() if unit["model"] == model}
        found = UnitTables(self._context.store, units)
        place = table.keys.index("model")
        return {
            (keys[:place] + keys[place + 1 :])[-1] if isinstance(keys, tuple) else "": rows
            for keys, rows in found.items()
        }

    def _texts(self, model: str, text: str) -> dict[str, pa.Table]:
        """Return language -> SOURCE_ACTIVATIONS."""
        units = self._context.units(tables.SOURCE_ACTIVATIONS).items()
        return {
            unit["language"]: self._context.store.read(unit, key)
            for unit, key in units
            if unit["model"] == model and unit["text"] == text
        }

    def parent(self, name: str) -> dict[str, Any]:
        """Return what the template says of a parent."""
        probes = self._tables(tables.PROBES, name)[""].to_pylist()
        neurons = self._tables(tables.NEURONS, name)[""]
        sources = {row["rank"]: row["source"] for row in self._tables(tables.SOURCES, name)[""].to_pylist()}
        shares = insult_shares(neurons)
        shown = [row for row in neurons.to_pylist() if row["draw"] == 0][:RANKED]
        random = [share for draw, share in (shares or {}).items() if draw]
        return {
            "name": name,
            "method": probes[0]["method"],
            "source": {"pairs": "preference pairs", "labelled": "labelled texts"}[probes[0]["source"]],
            "probe_figure": Markup(probe_figure(probes, self._languages)),
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
            "draws": self._explained.settings.config.random,
            **self._doses(name),
        }

    def _doses(self, name: str) -> dict[str, Any]:
        edited = outcomes(self._interventions(name), self._resampling)
        curves = effect_curves(edited, name)
        if not curves:
            return {"dose_figure": "", "dose_costs": []}
        doses = [
            {
                "amount": number(amount),
                "toxicity": shown_interval(outcome.toxicity),
                "perplexity": number(outcome.perplexity),
                "consistency": number(outcome.consistency),
                "random": self._of_draws(edited, amount),
            }
            for (_, _, amount, draw), outcome in sorted(edited.items(), key=lambda each: -each[0][2])
            if draw == 0
        ]
        figure = line_figure(curves, "added to each source", "toxicity", "Dose and response")
        return {"dose_figure": Markup(figure), "dose_costs": doses}

    def _of_draws(self, edited: Mapping[Edit, Outcome], amount: float) -> dict[str, str]:
        """Return the mean of what a dose does to matched draws."""
        draws = [outcome for (_, _, dose, draw), outcome in edited.items() if draw and dose == amount]

        def mean(values: list[float | None]) -> str:
            known = [value for value in values if value is not None]
            return number(float(np.mean(known)) if known else None)

        return {
            "toxicity": mean([outcome.toxicity.value for outcome in draws]),
            "perplexity": mean([outcome.perplexity for outcome in draws]),
            "consistency": mean([outcome.consistency for outcome in draws]),
        }

    def _interventions(self, *models: str) -> pa.Table:
        units = self._context.units(tables.INTERVENTIONS).items()
        parts = [self._context.store.read(unit, key) for unit, key in units if unit["model"] in models]
        return pa.concat_tables([tables.INTERVENTIONS.columns.empty_table(), *parts])

    def model(self, name: str, parent: str) -> dict[str, Any]:
        """Return what the template says of a tuned model."""
        contributions = self._tables(tables.CONTRIBUTIONS, name)
        return {
            "name": name,
            "parent": parent,
            **self._activations(name, parent),
            "parts_figure": Markup(parts_figure(change_by_part(contributions))),
            "groups": groups_in_words(contributions.get("en", next(iter(contributions.values())))),
            **self._transplants(name, parent),
            **self._correlations(name),
        }

    def _activations(self, name: str, parent: str) -> dict[str, Any]:
        sides = {
            "before": self._texts(parent, "own"),
            "own text": self._texts(name, "own"),
            "same text": self._texts(name, "same"),
        }
        styles = {"before": (BEFORE, True), "own text": (AFTER, False), "same text": (MUTED, False)}
        rows, means = [], dict[str, list[float]]()
        random = dict[str, list[float]]()
        for language in self._languages:
            dots = []
            for side, of_language in sides.items():
                values = of_language[language]
                if values.num_rows:
                    mean = mean_interval(values["value"].to_numpy(), language, self._resampling)
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
        }

    def _transplants(self, name: str, parent: str) -> dict[str, Any]:
        nothing = {"transplant_figure": "", "transplant_caption": ""}
        found = outcomes(self._interventions(name, parent), self._resampling)
        into = {key: outcome for key, outcome in found.items() if key[0] in (NONE, "into-parent") and key[1] == parent}
        curves = effect_curves(into, parent)
        if not curves:
            return nothing
        before, after = found[NONE, parent, 0.0, 0].toxicity, found[NONE, name, 0.0, 0].toxicity
        shares = [
            f"{size:.0f} neurons recover {100 * share:.0f} % of the fall"
            for (kind, _, size, draw), outcome in sorted(into.items())
            if kind == "into-parent" and draw == 0 and (share := recovered(before, after, outcome.toxicity)) is not None
        ]
        words = "; ".join(shares) or "The two models do not differ here, so no share can be recovered"
        caption = (
            f"Toxicity of {parent} ({shown_interval(before)}) with neurons of {name} ({shown_interval(after)}) in the "
            f"place of its own, those first that tuning changed most (solid), and with random neurons of the same "
            f"layers (dashed; band: range). {words}."
        )
        figure = line_figure(curves, "neurons transplanted", "toxicity", "Transplants")
        return {"transplant_figure": Markup(figure), "transplant_caption": caption}

    def _correlations(self, name: str) -> dict[str, Any]:
        found = self._tables(tables.CORRELATIONS, name)
        empty = {"correlation_figure": "", "correlation_caption": "", "correlation_n": 0, "correlation_note": ""}
        if not found:
            return {**empty, "correlation_note": "No parallel sentences (explain.parallel): transfer is not predicted."}
        rows = [row for row in found[""].to_pylist() if row["method"] == "spearman"]
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
        n = known[0]["n"]
        caption = (
            f"Rank correlations over {n} languages between properties of the parent and the fall of toxicity "
            f"({TARGET}), with intervals. {_verdict(known)} A correlation below {number(known[0]['detectable'])} "
            f"would mostly go unseen."
        )
        figure = dot_figure(dots, "Spearman's ρ", "Predictors of transfer", marks=[0])
        return {**empty, "correlation_figure": Markup(figure), "correlation_caption": caption, "correlation_n": n}


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Say what is left of some correlations after their correction."""
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
