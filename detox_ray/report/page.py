"""The page of one run: ``index.html``, and its figures as files of their own."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from markupsafe import Markup

from detox_ray.report import figure_files, published
from detox_ray.report.content import ReportContent
from detox_ray.report.explorer import explorer
from detox_ray.report.forest import place as place_forest
from detox_ray.report.labels import ENGLISH, MACRO, number
from detox_ray.report.pair_sections import PairSection, pair_sections
from detox_ray.report.paper_tables import printed_tables
from detox_ray.report.result_rows import MetricValues, SeriesKey
from detox_ray.report.results import flat
from detox_ray.report.scorer_tables import agreement_tables, count_lines, validity_tables
from detox_ray.report.shown_models import shown_models
from detox_ray.report.sweeps import sweep_clouds, sweep_tables
from detox_ray.report.template import html
from detox_ray.report.tradeoff import clouds
from detox_ray.report.tradeoff import place as place_cloud
from detox_ray.report.training import charts, told
from detox_ray.storage.metric_spec import ALL


class OwnRow(NamedTuple):
    """One model's own summary, beside the published ones."""

    model: str
    mean_of: str
    numbers: list[str]  # under the columns of the published results


def forest_texts(content: ReportContent, view: PairSection) -> tuple[str, str, str, str, str]:
    """(title, description, axis, name of before, name of after) of the forest plot."""
    metric = content.described.of(content.described.headline)
    return (
        f"{metric.title} per language, {view.parent} and {view.model}",
        "One row per language, sorted by relative reduction, the mean of languages first. A hollow dot is "
        f"{view.parent}, a filled dot {view.model}; bars are {100 * content.confidence:g} % intervals. An asterisk "
        "marks a significant difference.",
        f"{metric.title.lower()} by {content.primary} ({metric.direction_text})",
        f"before: {view.parent}",
        f"after: {view.model}",
    )


def figure_name(kind: str, view: PairSection) -> str:
    return f"{kind}-{view.model}-vs-{view.parent}"


def facts(manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The manifest as tables: one per top-level mapping, and one of the plain values at the top."""
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


def index(content: ReportContent) -> bytes:
    """``index.html``. Its links name the files of ``figures`` and of ``csv_tables``."""
    pairs = pair_sections(content)
    found = explorer(content.samples, content.models)
    return html(
        "page.html",
        "explorer.js" if found else None,
        c=content,
        pairs=pairs,
        forests=[place_forest(view.forest) if view.forest else None for view in pairs],
        forest_texts=[forest_texts(content, view) for view in pairs],
        figure_names=[{kind: figure_name(kind, view) for kind in ("forest", "heatmap")} for view in pairs],
        panels=[place_cloud(panel) for panel in clouds(content)],
        sweep_panels=[place_cloud(panel) for panel in sweep_clouds(content)],
        sweep_tables=sweep_tables(content),
        trainings=told(content),
        validity=validity_tables(content.validity),
        agreement=agreement_tables(content.agreement),
        counts=count_lines(content.counts),
        statuses=list(dict.fromkeys(row.status for row in content.counts)),
        printed=printed_tables(content),
        published=published.PUBLISHED,
        published_metrics=published.metrics(content.described),
        metrics=content.described,
        headline=content.described.of(content.described.headline),
        own=own_rows(content),
        explorer=found,
        explorer_data=Markup(found.data if found else ""),
        facts=facts(content.manifest),
        values=content.metrics.to_pylist(),
        any_left_out=not all(row["in_macro"] for row in content.metrics.to_pylist()),
    )


def own_rows(content: ReportContent) -> list[OwnRow]:
    """Each model under the published metrics, of the first series of each in the report's order, summarised as the two
    papers do: the mean over languages, and English beside the mean ± population deviation over the others."""
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
        found = [row["value"] for row in rows if row is not None and row["value"] is not None and row["in_macro"]]
        decimals = content.described.of(metric).decimals
        spread = f" ± {number(pstdev(found), decimals)}" if len(found) > 1 else ""
        return number(fmean(found) if found else None, decimals) + spread

    kinds = [("all languages", [MACRO])]
    if ENGLISH in content.languages and others:
        kinds += [("English", [ENGLISH]), ("languages other than English", others)]
    return [
        OwnRow(model, mean_of, [summary(model, metric, languages) for metric in published.metrics(content.described)])
        for model in shown_models(content)
        for mean_of, languages in kinds
    ]


def figures(content: ReportContent) -> dict[str, bytes]:
    """``figures/*.svg`` and ``*.pdf``: of each compared pair what can be drawn, the trade-offs, the sweeps and
    how each model learned."""
    files: dict[str, bytes] = {}
    for view in pair_sections(content):
        title, _, axis, before, after = forest_texts(content, view)
        if view.forest:
            files |= figure_files.forest_files(figure_name("forest", view), view.forest, title, axis, before, after)
        if view.heat:
            title = f"Change per metric and language, {view.parent} to {view.model}"
            files |= figure_files.heat_files(figure_name("heatmap", view), view.heat, title)
    for name, panels in (("tradeoff", clouds(content)), ("sweeps", sweep_clouds(content))):
        files |= figure_files.tradeoff_files(name, panels) if panels else {}
    for training in content.training:
        if panels_of := charts(training):
            files |= figure_files.curve_files(f"training-{training.model}", panels_of, f"Training of {training.model}")
    return files
