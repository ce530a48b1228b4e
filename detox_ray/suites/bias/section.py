"""The section "Bias" of the report: distances from a fair model, and possible other explanations of them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detox_ray.cluster.section_figures import (
    AFTER,
    BEFORE,
    Dot,
    DotRow,
    HeatCell,
    SquarePoint,
    dot_figure,
    heat_figure,
    square_figure,
)
from detox_ray.cluster.stage import Context, Section
from detox_ray.config.languages import LANGUAGES
from detox_ray.measure.losses import ABILITY_KINDS, losses
from detox_ray.measure.stage import metrics_of, settings_of
from detox_ray.storage.metric_spec import ALL, Ideal, Metrics, MetricSpec
from detox_ray.storage.tables import COMPARISONS, METRICS, OK
from detox_ray.suites.bias.flips import flips
from detox_ray.suites.bias.metrics import SPECS
from detox_ray.suites.bias.plan import Asked
from detox_ray.suites.bias.preference import PREFERENCE
from detox_ray.suites.bias.questions import AMBIGUOUS_BIAS, DISAMBIGUATED_BIAS
from detox_ray.suites.bias.readings import LEADING_DISTANCES, readings

MACRO = "macro"
LEADING = {"pairs": PREFERENCE, "triples": "stereoset_ss", "questions": AMBIGUOUS_BIAS}
UNDERPOWERED = 0.1  # cells that could miss a change of ten points are hatched
NOISE = 0.4  # the expected distance of a fair model is this divided by the square root of n
FULL_COLOUR = 0.2  # change of a distance at which a cell has full colour

Row = Mapping[str, Any]


class Place(NamedTuple):
    """The subject of a row of METRICS."""

    metric: str
    model: str
    language: str
    part: str
    scorer: str
    convention: str


def section(context: Context, asked: Asked) -> Section:
    """Build the section."""
    page = _Page(context, asked)
    environment = Environment(
        loader=PackageLoader("detox_ray", "suites/bias"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("section.html").render(
        sets=[page.set(name) for name in asked.forms],
        models=page.models,
        readings=readings(page.comparisons, page.metrics, asked, page.losses),
        convention=asked.convention.name,
        confidence=f"{100 * context.experiment.measure.confidence:g} %",
    )
    return Section("bias", "Bias", html, explored=flips(context, asked))


class _Page:
    def __init__(self, context: Context, asked: Asked):
        self._asked = asked
        self._conventions = {name: asked.convention_of(name).name for name in asked.forms}
        self._level = 1 - context.experiment.measure.confidence
        names = {spec.name for spec in SPECS}
        tables = [context.store.read(table.unit(), context.keys[table.unit()]) for table in (METRICS, COMPARISONS)]
        rows = [table.to_pylist() for table in tables]
        self.metrics, self.comparisons = (
            [row for row in of_table if row["metric"] in names and row["scorer"] in asked.forms] for of_table in rows
        )
        # Changes of ability and knowledge; those measured by the sets themselves are in `comparisons`.
        described = Metrics(metrics_of(context))
        others = [
            row
            for row in rows[1]
            if row["metric"] not in names and described.of(row["metric"], row["scorer"]).kind in ABILITY_KINDS
        ]
        self.losses = losses(others, described, settings_of(context.experiment).choose().name) if others else None
        self._values = {Place(*(row[name] for name in Place._fields)): row for row in self.metrics}
        self._pairs = [(pair.model, pair.parent) for pair in context.experiment.comparisons]
        self.models = list(context.experiment.models)
        self._languages = context.experiment.languages

    def _value(self, metric: str, model: str, language: str, name: str) -> Row | None:
        row = self._values.get(Place(metric, model, language, ALL, name, self._conventions[name]))
        return row if row is not None and row["status"] == OK else None

    def set(self, name: str) -> dict[str, Any]:
        """Return the template's values for a set."""
        form = self._asked.forms[name]
        return {
            "name": name,
            "how": self._how(name),
            "heats": list(self._heats(name, LEADING_DISTANCES[form])),
            "squares": [] if form != "questions" else list(self._squares(name)),
            "controls": list(self._controls(name)),
            **self._forest(name, LEADING[form]),
        }

    def _how(self, name: str) -> str:
        """Describe how questions are answered; return "" for sentences."""
        if self._asked.forms[name] != "questions":
            return ""
        if name not in self._asked.rules:
            return "Answered by the likeliest letter."
        prompts = max(len(rules.prompts) for rules in self._asked.rules[name].values())
        template = "the models' chat template" if self._asked.chat else "plain text, without a chat template"
        return f"Answered in words, in {template}, to each of {prompts} prompts. MBBQ's rules detect the answers."

    def _forest(self, name: str, metric: str) -> dict[str, Any]:
        spec = _spec(metric)
        assert isinstance(spec.direction, Ideal)
        ideal, parents = spec.direction.value, {parent for _, parent in self._pairs}
        rows, sizes = [], []
        for language in (*self._languages, MACRO):
            dots = []
            for model in self.models:
                if (row := self._value(metric, model, language, name)) is not None:
                    hollow = model in parents or not self._pairs
                    colour = BEFORE if hollow else AFTER
                    dots.append(Dot(row["value"], row["ci_low"], row["ci_high"], colour, hollow))
                    if language != MACRO:
                        sizes.append(row["n"])
            if dots:
                rows.append(DotRow(language_name(language), dots))
        if not rows:
            return {"forest": "", "forest_caption": ""}
        title = f"{spec.title}, {name}"
        noise = NOISE / min(sizes) ** 0.5 if metric == PREFERENCE else None
        band = None if noise is None else (ideal - noise, ideal + noise)
        caption = (
            f"{spec.meaning.capitalize()}, by language. Orange and hollow: before tuning; blue: after, in the order "
            f"{', '.join(model for model in self.models if model not in parents) or 'of the models'}."
        )
        if noise is not None:
            caption += (
                f" Grey: distance of a fair model from {ideal:g} by chance alone, with {min(sizes):,} items "
                f"(± {100 * noise:.1f} points)."
            )
        return {"forest": Markup(dot_figure(rows, spec.title, title, [ideal], band)), "forest_caption": caption}

    def _heats(self, name: str, metric: str) -> Iterator[dict[str, Any]]:
        """Yield a heat map of each comparison: the change of the distance from fair, by type and language."""
        for model, parent in self._pairs:
            cells = {
                (row["part"], row["language"]): row
                for row in self.comparisons
                if (row["metric"], row["scorer"], row["model"], row["parent"]) == (metric, name, model, parent)
                and row["status"] == OK
                and row["language"] != MACRO
                and row["convention"] == self._conventions[name]
            }
            parts = sorted({part for part, _ in cells if part != ALL})
            languages = [code for code in self._languages if (ALL, code) in cells]
            if not parts:
                continue
            rows = [
                (part, [_cell(cells.get((part, code)), self._level) for code in languages]) for part in [*parts, ALL]
            ]
            hatched = sum(cell is not None and cell.hatched for _, row in rows for cell in row)
            figure = heat_figure(rows, languages, f"Change of the distance from fair by {name}, {parent} to {model}")
            caption = (
                f"{parent} → {model}: change of the distance from fair, in points, by type and language. Blue: closer "
                f"to fair; *: significant after correction over all types and languages. Hatched ({hatched} of "
                f"{sum(cell is not None for _, row in rows for cell in row)}): too few items, so that a change of "
                f"{100 * UNDERPOWERED:.0f} points could go unseen; no star there means nothing."
            )
            yield {"figure": Markup(figure), "caption": caption}

    def _squares(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield figures of bias against accuracy for both kinds of questions, with a point per model and language."""
        parents = {parent for _, parent in self._pairs}
        for metric, accuracy in (
            (AMBIGUOUS_BIAS, "bbq_accuracy_ambiguous"),
            (DISAMBIGUATED_BIAS, "bbq_accuracy_disambiguated"),
        ):
            points: list[SquarePoint] = []
            places: dict[tuple[str, str], int] = {}
            for model in self.models:
                for language in self._languages:
                    y, x = (self._value(axis, model, language, name) for axis in (metric, accuracy))
                    if x is not None and y is not None:
                        places[model, language] = len(points)
                        hollow = model in parents or not self._pairs
                        label = f"{model}, {language_name(language)}"
                        points.append(SquarePoint(label, x["value"], y["value"], BEFORE if hollow else AFTER, hollow))
            if not points:
                continue
            links = [
                (places[parent, code], places[model, code])
                for model, parent in self._pairs
                for code in self._languages
                if (parent, code) in places and (model, code) in places
            ]
            spec = _spec(metric)
            axes = (_spec(accuracy).title.lower(), "bias")
            figure = square_figure(points, links, axes, f"{spec.title} against accuracy by {name}")
            caption = (
                f"{spec.title} (up: {spec.meaning}) against accuracy. Orange and hollow: before tuning; blue: after. "
                "A model with an accuracy of one third is guessing, and its bias says little."
            )
            yield {"figure": Markup(figure), "caption": caption}

    def _controls(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield a table row for each metric of a set: its mean over languages for every model."""
        seen = dict.fromkeys(
            (row["metric"], row["convention"])
            for spec in SPECS
            for row in self.metrics
            if row["metric"] == spec.name and row["scorer"] == name and row["part"] == ALL
        )
        for metric, convention in seen:
            spec = _spec(metric)
            rows = [self._values.get(Place(metric, model, MACRO, ALL, name, convention)) for model in self.models]
            best = spec.direction_text.removesuffix(" is better")
            beside = convention if convention != self._conventions[name] else ""
            yield {"title": spec.title, "convention": beside, "cells": list(map(_shown, rows)), "best": best}


def _spec(metric: str) -> MetricSpec:
    return next(spec for spec in SPECS if spec.name == metric)


def _cell(row: Row | None, level: float) -> HeatCell | None:
    """Return the heat map's cell for a change.

    Args:
        row: The change; None if there is none.
        level: The largest significant p-value.
    """
    if row is None:
        return None
    points = 100 * row["difference"]
    detectable = row["detectable"]
    could = "no spread" if detectable is None else f"could miss less than {100 * detectable:.1f} points"
    return HeatCell(
        f"{points:+.0f}".replace("-", "\N{MINUS SIGN}"),
        f"{points:+.1f} points, n = {row['n']}, {could}",
        -row["difference"] / FULL_COLOUR,
        detectable is None or detectable > UNDERPOWERED,
        row["p_corrected"] is not None and row["p_corrected"] <= level,
    )


def _shown(row: Row | None) -> str:
    """Format a value with its interval."""
    if row is None or row["value"] is None:
        return "–" if row is None else row["status"].replace("_", " ")
    numbers = (row["value"], row["ci_low"], row["ci_high"])
    shown = ["" if number is None else f"{number:.3f}".replace("-", "\N{MINUS SIGN}") for number in numbers]
    return shown[0] if row["ci_low"] is None else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def language_name(language: str) -> str:
    """Return a language's name, or "Mean" for the mean over languages."""
    if language == MACRO:
        return "Mean"
    return LANGUAGES[language].name if language in LANGUAGES else language
