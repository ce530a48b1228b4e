"""One page about several runs, from their parsed ``results.json`` documents.

Runs are ranked together only if the primary scorer and its identity, the convention, the languages and the confidence
are the same. Otherwise there are several rankings and a warning. Other settings that differ are listed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.report import figure_files, published
from detox_ray.report.csv_tables import csv_file, published_csv
from detox_ray.report.embedded_figure import drawings
from detox_ray.report.forest import ForestRow
from detox_ray.report.headline import verdict
from detox_ray.report.heat import Heat, value_heat
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import MACRO, language_name, p_value, shortened, status_text
from detox_ray.report.number_cells import Cell, value_cell
from detox_ray.report.result_rows import MetricValues, SeriesKey, interval_value, p_of, series_of, significant
from detox_ray.report.template import html
from detox_ray.report.tradeoff import Cloud, axes, cloud
from detox_ray.storage.metric_spec import ALL, MetricDescription, Metrics
from detox_ray.storage.tables import OK

NEEDED = (
    "experiment",
    "convention",
    "confidence",
    "primary_scorer",
    "settings",
    "revisions",
    "identities",
    "evaluators",
    "languages",
    "models",
    "compare",
    "metrics_described",
    "metrics",
    "comparisons",
    "interval",
    "correction",
    "seed_groups",
)

NO_RANK = float("inf")


class ComparedRun(NamedTuple):
    """The results of one run, with the name that the page shows."""

    name: str
    document: Mapping[str, Any]
    values: MetricValues


class RankRow(NamedTuple):
    rank: str
    run: str
    model: str
    tuned_from: str
    cells: list[Cell]  # under the group's columns
    languages: int
    seeds: int  # number of models in the mean


class RankingGroup(NamedTuple):
    """Runs that can be ranked together."""

    scorer: str
    revision: str
    convention: str
    languages: str
    runs: list[str]
    headline: MetricDescription  # the metric of the ranking
    columns: list[str]
    ranking: list[RankRow]
    differences: list[tuple[ForestRow, str]]  # with the verdict
    tradeoffs: list[Cloud]
    heats: list[tuple[str, Heat]]
    differing: list[tuple[str, list[str]]]  # setting, its value in each run
    confidence: float


def render_several(results: Sequence[tuple[str, Mapping[str, Any]]], title: str) -> dict[str, bytes]:
    """Return the files of a report about several runs, as relative path -> content.

    Args:
        results: Name and parsed results.json of each run.
        title: Title of the page.

    Raises:
        ValueError: If there is no run, two have the same name, or a document is not a results.json of this version.
    """
    if not results:
        raise ValueError("no run to compare")
    runs = [_run(name, document) for name, document in results]
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("two runs have the same name")
    metrics = Metrics.merged(run.values.metrics for run in runs)
    grouped: dict[tuple[Any, ...], list[ComparedRun]] = {}
    for run in runs:
        grouped.setdefault(_comparable(run), []).append(run)
    groups = [_group(members) for members in grouped.values()]
    files = _files(groups, list(grouped.values()))
    page = html(
        "several.html",
        None,
        title=title,
        groups=groups,
        runs=runs,
        published=published.PUBLISHED,
        published_metrics=published.metrics(metrics),
        metrics=metrics,
        files=list(files),
        drawings=drawings(files),
    )
    return {"index.html": page, **files}


def _run(name: str, document: Mapping[str, Any]) -> ComparedRun:
    missing = [key for key in NEEDED if key not in document]
    if missing:
        raise ValueError(f"{name}: not a results.json of this version of detox_ray: it has no {', '.join(missing)}")
    return ComparedRun(
        name, document, MetricValues(document["metrics"], Metrics.from_rows(document["metrics_described"]))
    )


def _comparable(run: ComparedRun) -> tuple[Any, ...]:
    scorer = run.document["primary_scorer"]
    return (
        *(scorer, run.document["identities"].get(scorer, ""), run.document["convention"]),
        *(frozenset(run.document["languages"]), run.document["confidence"]),
    )


def _group(runs: Sequence[ComparedRun]) -> RankingGroup:
    document = runs[0].document
    scorer, convention, confidence = document["primary_scorer"], document["convention"], document["confidence"]
    metrics = Metrics.merged(run.values.metrics for run in runs)
    headline = SeriesKey(metrics.headline, scorer, convention)
    values_of = {series: run.values for run in runs for series in run.values.series(scorer, convention)}
    series = [
        s
        for s, values in values_of.items()
        if s.convention == convention
        and s.part == ALL
        and not values.by_other_scorer(s, scorer)
        and values.describe(s).spread_of is None
    ]
    titles = [metrics.title(s.metric, s.scorer) for s in series]
    differences = _differences(runs, headline, confidence)
    models = [(f"{run.name} / {model}", run.values, model) for run in runs for model in run.document["models"]]
    languages = sorted(document["languages"], key=language_name)
    return RankingGroup(
        scorer,
        document["revisions"].get(scorer, ""),
        convention,
        ", ".join(language_name(code) for code in languages),
        [run.name for run in runs],
        metrics.of(metrics.headline),
        titles,
        _ranking(runs, series, headline, metrics),
        differences,
        _clouds(runs, headline, metrics),
        [
            (title, value_heat(s, metrics.of(s.metric, s.scorer).decimals, languages, models))
            for s, title in zip(series, titles, strict=True)
        ],
        _differing(runs),
        confidence,
    )


def _ranking(
    runs: Sequence[ComparedRun], series: Sequence[SeriesKey], headline: SeriesKey, metrics: Metrics
) -> list[RankRow]:
    """Rank models by the macro mean of the headline metric, the best first. Models without a value come last."""
    entries: list[tuple[float, ComparedRun, str]] = []
    for run in runs:
        for model in run.document["models"]:
            toxicity = interval_value(run.values.of(headline, model, MACRO))
            entries.append((NO_RANK if toxicity is None else toxicity.value, run, model))
    entries.sort(key=lambda entry: (entry[0], entry[1].name, entry[2]))
    rows = []
    for place_of, run, model in entries:
        parents = [pair["parent"] for pair in run.document["compare"] if pair["model"] == model]
        rank = "–" if place_of == NO_RANK else str(1 + sum(other < place_of for other, _, _ in entries))
        macro = run.values.of(headline, model, MACRO)
        cells = [value_cell(run.values.of(s, model, MACRO), metrics.of(s.metric, s.scorer)) for s in series]
        n, seeds = (macro["n"], macro["seeds"]) if macro else (0, 1)
        rows.append(RankRow(rank, run.name, model, ", ".join(parents), cells, n, seeds))
    return rows


def _differences(runs: Sequence[ComparedRun], headline: SeriesKey, confidence: float) -> list[tuple[ForestRow, str]]:
    """Return the macro difference of every compared pair with a sentence about it, the largest fall first."""
    rows = []
    for run in runs:
        shown = {(pair["model"], pair["parent"]) for pair in run.document["compare"]}
        for row in run.document["comparisons"]:
            if series_of(row) == headline and row["language"] == MACRO and (row["model"], row["parent"]) in shown:
                name = shortened(f"{run.name}: {row['model']} − {row['parent']}")
                if row["status"] != OK:
                    rows.append((ForestRow(name, None, None, status_text(row["status"])), ""))
                    continue
                change = IntervalValue(row["difference"], row["ci_low"], row["ci_high"])
                text = f"{verdict(row, confidence)} p = {p_value(p_of(row))}."
                rows.append((ForestRow(name, None, change, "", significant(row, confidence)), text))
    return sorted(rows, key=lambda entry: entry[0].after.value if entry[0].after else float("inf"))


def _clouds(runs: Sequence[ComparedRun], headline: SeriesKey, metrics: Metrics) -> list[Cloud]:
    every_axis = {axis: None for run in runs for axis in axes(run.values, headline.scorer, headline.convention)}
    t5 = {evaluator["name"] for run in runs for evaluator in run.document["evaluators"] if evaluator["kind"] == "t5"}
    models = [(f"{run.name} / {model}", run.values, model) for run in runs for model in run.document["models"]]
    pairs = [
        (f"{run.name} / {pair['model']}", f"{run.name} / {pair['parent']}")
        for run in runs
        for pair in run.document["compare"]
    ]
    panels = [cloud(headline, axis, models, pairs, axis.scorer in t5, metrics) for axis in every_axis]
    return [panel for panel in panels if panel.points]


def _differing(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    settings = [
        {**run.document["settings"], "interval": run.document["interval"], "correction": run.document["correction"]}
        for run in runs
    ]
    names = dict.fromkeys(name for values in settings for name in values)
    rows = [(name, [str(values.get(name, "–")) for values in settings]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _files(groups: Sequence[RankingGroup], runs: Sequence[Sequence[ComparedRun]]) -> dict[str, bytes]:
    ranking: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for number_of, (group, members) in enumerate(zip(groups, runs, strict=True), 1):
        ranking += [
            {"group": number_of, "run": run.name, **row}
            for run in members
            for row in run.document["metrics"]
            if row["language"] == MACRO and row["convention"] == group.convention
        ]
        differences += [
            {"group": number_of, "run": run.name, **row}
            for run in members
            for row in run.document["comparisons"]
            if row["language"] == MACRO and row["convention"] == group.convention
        ]
        files |= _figures(number_of, group)
    for name, rows in (("models", ranking), ("differences", differences)):
        if rows:
            files[f"tables/{name}.csv"] = csv_file(list(rows[0]), rows)
    return {**files, "tables/published.csv": published_csv()}


def _figures(number_of: int, group: RankingGroup) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if group.differences:
        title = f"Difference in {group.headline.title.lower()} of each tuned model and its parent"
        axis = f"difference in {group.headline.title.lower()}, after less before ({group.headline.direction_text})"
        rows = [row for row, _ in group.differences]
        files |= figure_files.difference_files(f"differences-{number_of}", rows, title, axis)
    if group.tradeoffs:
        files |= figure_files.tradeoff_files(f"tradeoff-{number_of}", group.tradeoffs)
    return files
