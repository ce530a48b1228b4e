"""The section "Language ability" of the report: the change of each tuned model's ability, by language."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from detox_ray.cluster.section_figures import AFTER, BEFORE, Dot, Panel, multiples_figure
from detox_ray.cluster.stage import Context, Section
from detox_ray.config.languages import LANGUAGES
from detox_ray.measure.ability import SPECS
from detox_ray.measure.losses import conventions_of
from detox_ray.measure.stage import settings_of
from detox_ray.storage.metric_spec import ALL, MetricSpec
from detox_ray.storage.tables import COMPARISONS, OK

MACRO = "macro"
TITLES = {"ability_language_consistency": "in its language", "ability_perplexity": "perplexity"}
TITLES |= {"ability_novelty": "novelty", "ability_english_drift": "in English"}

Row = Mapping[str, Any]


def section(context: Context) -> Section | None:
    """Return the section, or None if no comparison has values."""
    rows = context.store.read(COMPARISONS.unit(), context.keys[COMPARISONS.unit()]).to_pylist()
    names = {spec.name for spec in SPECS}
    rows = [row for row in rows if row["metric"] in names and row["part"] == ALL and row["status"] == OK]
    conventions = conventions_of(rows, settings_of(context.experiment).choose().name)
    rows = [row for row in rows if row["convention"] == conventions[row["metric"], row["scorer"]]]
    figures = [figure for pair in context.experiment.comparisons for figure in _figures(context, rows, pair)]
    if not figures:
        return None
    intro = Markup(
        "<p>Greedy completions of harmless text: the change in the share of completions in their prompt's language, in "
        "the share in English, and the factor by which perplexity and novelty changed, with intervals. Blue: better; "
        "orange: worse; grey and hollow: possibly no change. A language without a dot was not compared. "
        "docs/ability-and-knowledge.md defines the numbers.</p>"
    )
    return Section("ability", "Language ability", intro + Markup("").join(figures))


def _figures(context: Context, rows: list[Row], pair: Any) -> Iterator[Markup]:
    """Yield the small multiples of a comparison: one panel per metric, one row per language."""
    cells: dict[tuple[str, str], dict[str, Row]] = {}  # (metric, scorer) -> language -> change
    for row in rows:
        if (row["model"], row["parent"]) == (pair.model, pair.parent):
            cells.setdefault((row["metric"], row["scorer"]), {})[row["language"]] = row
    specs = {spec.name: spec for spec in SPECS}
    shown = [(specs[metric], by_language) for metric in TITLES for by_language in _of(cells, metric)]
    languages = [code for code in (*context.experiment.languages, MACRO) if any(code in of for _, of in shown)]
    if not languages:
        return
    panels = [
        Panel(
            TITLES[spec.name],
            [_dot(spec, by_language[code]) if code in by_language else None for code in languages],
            1.0 if spec.change == "relative" else 0.0,
        )
        for spec, by_language in shown
    ]
    names = ["Mean" if code == MACRO else LANGUAGES[code].name for code in languages]
    figure = multiples_figure(names, panels, f"Change of language ability, {pair.parent} to {pair.model}")
    caption = escape(f"{pair.parent} → {pair.model}: {', '.join(panel.title for panel in panels)}.")
    region = '<div class="scroll" tabindex="0" role="region" aria-label="Figure">'
    yield Markup(f"<figure>{region}{figure}</div><figcaption>{caption}</figcaption></figure>")


def _of(cells: Mapping[tuple[str, str], dict[str, Row]], metric: str) -> list[dict[str, Row]]:
    """Return a metric's changes by its first scorer; an empty list if it was not measured."""
    return [by_language for (name, _), by_language in cells.items() if name == metric][:1]


def _dot(spec: MetricSpec, row: Row) -> Dot | None:
    """Return a change as a dot: a ratio if the metric has no bounds, else a difference; None if there is no ratio."""
    ratio = spec.change == "relative"
    value, low, high = (
        (row["ratio"], row["ratio_low"], row["ratio_high"])
        if ratio
        else (row["difference"], row["ci_low"], row["ci_high"])
    )
    none = 1.0 if ratio else 0.0
    if value is None:
        return None  # the parent's value is 0
    sure = low is not None and high is not None and not low <= none <= high
    better = (value < none) == (spec.direction == "lower")
    colour = "var(--muted)" if not sure else AFTER if better else BEFORE
    return Dot(value, low, high, colour, not sure)
