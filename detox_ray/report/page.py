"""The page of one run, ``index.html``, and its figures as separate files."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from markupsafe import Markup

from detox_ray.report import changes, figure_files, overview_figure, published
from detox_ray.report.changes import change_clouds
from detox_ray.report.content import ReportContent
from detox_ray.report.embedded_figure import drawings
from detox_ray.report.explorer import explorer
from detox_ray.report.figure_files import Drawing
from detox_ray.report.labels import ENGLISH, MACRO, number
from detox_ray.report.overview import overview
from detox_ray.report.pair_sections import PairSection, pair_sections
from detox_ray.report.paper_tables import printed_tables
from detox_ray.report.result_rows import MetricValues, SeriesKey
from detox_ray.report.results import flat
from detox_ray.report.scorer_tables import agreement_tables, count_lines, validity_tables
from detox_ray.report.shown_models import shown_models
from detox_ray.report.sweeps import sweep_clouds, sweep_tables
from detox_ray.report.template import html
from detox_ray.report.tradeoff import clouds
from detox_ray.report.training import charts, figure_name, summaries
from detox_ray.storage.metric_spec import ALL, MetricDescription


class OwnRow(NamedTuple):
    """The summary of one of the run's models, shown beside the published results."""

    model: str
    mean_of: str
    numbers: list[str]  # under the columns of the published results


def forest_labels(content: ReportContent, pair: PairSection) -> tuple[str, str, str, str]:
    """Return the labels of the forest plot: title, axis, before, after."""
    metric = content.described.of(content.described.headline)
    return (
        f"{metric.title} per language, {pair.parent} and {pair.model}",
        f"{metric.title.lower()} by {content.primary} ({metric.direction_text})",
        f"before: {pair.parent}",
        f"after: {pair.model}",
    )


def pair_figure_name(kind: str, pair: PairSection) -> str:
    """Return the name of a figure of one compared pair."""
    return f"{kind}-{pair.model}-vs-{pair.parent}"


def facts(manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the manifest as tables: one for each top-level mapping, and one for the other top-level values."""
    plain = {key: value for key, value in manifest.items() if not isinstance(value, Mapping)}
    groups = {"run": plain} | {key: value for key, value in manifest.items() if isinstance(value, Mapping)}
    return {
        name: [
            (key, value if isinstance(value, str) else json.dumps(value, default=str))
            for key, value in flat(group).items()
        ]
        for name, group in groups.items()
        if group
    }


def index(content: ReportContent, figure_paths: Mapping[str, bytes]) -> bytes:
    """Return ``index.html``, which contains the drawings of `figures` and links to them and to the CSV tables."""
    pairs = pair_sections(content)
    explored = explorer(content.samples, content.models)
    values = content.metrics.to_pylist()
    return html(
        "page.html",
        "explorer.js" if explored else None,
        c=content,
        overview=overview(content),
        overview_figure=overview_figure.NAME,
        pairs=pairs,
        figure_names=[{kind: pair_figure_name(kind, pair) for kind in ("forest", "heatmap")} for pair in pairs],
        drawings=drawings(figure_paths),
        changes=change_clouds(content),
        changes_figure=changes.NAME,
        losses=changes.losses(content),
        tradeoffs=clouds(content),
        sweep_clouds=sweep_clouds(content),
        sweep_tables=sweep_tables(content),
        trainings=summaries(content),
        validity=validity_tables(content.validity),
        agreement=agreement_tables(content.agreement),
        counts=count_lines(content.counts),
        statuses=list(dict.fromkeys(row.status for row in content.counts)),
        printed=printed_tables(content),
        published=published.PUBLISHED,
        published_metrics=published.metrics(content.described),
        metrics=content.described,
        headline=content.described.of(content.described.headline),
        measured=measured_metrics(content),
        own=own_rows(content),
        explorer=explored,
        explorer_data=Markup(explored.data if explored else ""),
        facts=facts(content.manifest),
        values=values,
        any_left_out=not all(row["in_macro"] for row in values),
    )


def measured_metrics(content: ReportContent) -> list[MetricDescription]:
    """Return the descriptions of the metrics that were measured, in order, without those of spread."""
    rows = zip(*(content.metrics[column].to_pylist() for column in ("metric", "scorer")), strict=True)
    places = sorted({content.described.place(metric, scorer) for metric, scorer in rows})
    return [metric for place in places if not (metric := content.described.descriptions[place]).spread_of]


def own_rows(content: ReportContent) -> list[OwnRow]:
    """Summarise each model by the published metrics, in the ways of the two papers.

    One row is the mean over languages. Two more are English, and the mean ± population standard deviation over the
    other languages. If a metric has several series, the first counts.
    """
    values = MetricValues(content.metrics.to_pylist(), content.described)
    t5 = {evaluator.name for evaluator in content.evaluators if evaluator.kind == "t5"}
    chosen: dict[str, SeriesKey] = {}
    for series in values.series(content.primary, content.convention):
        comparable = series.metric != published.PERPLEXITY or series.scorer in t5
        if series.convention == content.convention and series.part == ALL and comparable:
            chosen.setdefault(series.metric, series)
    others = [language for language in content.languages if language != ENGLISH]

    def summary(model: str, metric: str, languages: Sequence[str]) -> str:
        rows = [values.of(chosen[metric], model, language) for language in languages] if metric in chosen else []
        numbers = [row["value"] for row in rows if row is not None and row["value"] is not None and row["in_macro"]]
        decimals = content.described.of(metric).decimals
        spread = f" ± {number(pstdev(numbers), decimals)}" if len(numbers) > 1 else ""
        return number(fmean(numbers) if numbers else None, decimals) + spread

    kinds = [("all languages", [MACRO])]
    if ENGLISH in content.languages and others:
        kinds += [("English", [ENGLISH]), ("languages other than English", others)]
    return [
        OwnRow(model, mean_of, [summary(model, metric, languages) for metric in published.metrics(content.described)])
        for model in shown_models(content)
        for mean_of, languages in kinds
    ]


def figures(content: ReportContent, processes: int = 1) -> dict[str, bytes]:
    """Draw ``figures/*.svg`` and ``*.pdf``.

    They show the first screen's figure, forest plots and heat maps of compared pairs, trade-offs, sweeps and trainings.
    """
    figures: list[Drawing] = []
    first_screen = overview(content)
    if first_screen and first_screen.dots:
        figures.append(partial(overview_figure.overview_files, first_screen.dots))
    for training in content.training:
        if panels_of := charts(training):
            title = f"Training of {training.model}"
            figures.append(partial(figure_files.curve_files, figure_name(training), panels_of, title))
    for pair in pair_sections(content):
        title, axis, before, after = forest_labels(content, pair)
        if pair.forest:
            name = pair_figure_name("forest", pair)
            figures.append(partial(figure_files.forest_files, name, pair.forest, title, axis, before, after))
        if pair.heat:
            title = f"Change per metric and language, {pair.parent} to {pair.model}"
            figures.append(partial(figure_files.heat_files, pair_figure_name("heatmap", pair), pair.heat, title))
    panels_by_name = {
        changes.NAME: change_clouds(content),
        "tradeoff": clouds(content),
        "sweeps": sweep_clouds(content),
    }
    for name, panels in panels_by_name.items():
        if panels:
            figures.append(partial(figure_files.tradeoff_files, name, panels))
    return figure_files.draw(figures, processes)
