"""One page over several runs, from their parsed ``results.json`` documents.

Runs are comparable, and ranked together, only where the primary scorer and its identity, the convention and the
languages are the same; others get a ranking of their own and a warning. Other settings that differ are listed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.report import drawing, words
from detox_ray.report.cells import Cell, value_cell
from detox_ray.report.forest import Forest, ForestRow, place_differences
from detox_ray.report.headline import verdict
from detox_ray.report.heat import Heat, value_heat
from detox_ray.report.published import PUBLISHED
from detox_ray.report.rows import Series, Values, p_of, reading, series_of, significant
from detox_ray.report.scales import Reading
from detox_ray.report.sheets import published_sheet, sheet
from detox_ray.report.template import html
from detox_ray.report.tradeoff import Cloud, Panel, axes, cloud, place
from detox_ray.report.words import HEADLINE, MACRO, language_name, shortened
from detox_ray.storage.tables import OK

NEEDED = (
    *("experiment", "convention", "confidence", "primary_scorer", "settings", "revisions", "identities"),
    *("evaluators", "languages", "models", "compare", "metrics", "comparisons", "interval", "correction"),
    "seed_groups",
)

NO_RANK = float("inf")


class Run(NamedTuple):
    name: str
    document: Mapping[str, Any]
    values: Values


class RankRow(NamedTuple):
    rank: str
    run: str
    model: str
    tuned_from: str
    cells: list[Cell]  # under the group's columns
    languages: int
    seeds: int  # models of which this is the mean


class Group(NamedTuple):
    """Runs that can be ranked together."""

    scorer: str
    revision: str
    convention: str
    languages: str
    runs: list[str]
    columns: list[str]
    ranking: list[RankRow]
    differences: list[tuple[ForestRow, str]]  # with the verdict
    forest: Forest | None
    panels: list[Panel]
    heats: list[tuple[str, Heat]]
    differing: list[tuple[str, list[str]]]  # setting, its value in each run
    confidence: float


def render_several(results: Sequence[tuple[str, Mapping[str, Any]]], title: str) -> dict[str, bytes]:
    """Relative path -> content of a report over several runs, given as (name, parsed results.json).

    Raises:
        ValueError: there is no run, two have the same name, or a document is not a results.json of this version.
    """
    if not results:
        raise ValueError("no run to compare")
    runs = [_run(name, document) for name, document in results]
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("two runs have the same name")
    grouped: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        grouped.setdefault(_comparable(run), []).append(run)
    made = [_group(members) for members in grouped.values()]
    files = _files(made, list(grouped.values()))
    page = html(
        "several.html",
        None,
        title=title,
        groups=made,
        runs=runs,
        published=PUBLISHED,
        published_metrics=words.PUBLISHED_METRICS,
        files=list(files),
    )
    return {"index.html": page, **files}


def _run(name: str, document: Mapping[str, Any]) -> Run:
    missing = [key for key in NEEDED if key not in document]
    if missing:
        raise ValueError(f"{name}: not a results.json of this version of detox_ray: it has no {', '.join(missing)}")
    return Run(name, document, Values(document["metrics"]))


def _comparable(run: Run) -> tuple[Any, ...]:
    scorer = run.document["primary_scorer"]
    return (
        *(scorer, run.document["identities"].get(scorer, ""), run.document["convention"]),
        *(frozenset(run.document["languages"]), run.document["confidence"]),
    )


def _group(runs: Sequence[Run]) -> Group:
    document = runs[0].document
    scorer, convention, confidence = document["primary_scorer"], document["convention"], document["confidence"]
    chief = Series(HEADLINE, scorer, convention)
    found = {series: None for run in runs for series in run.values.series(scorer, convention)}
    toxicity = {series.scorer for series in found if series.metric == HEADLINE} - {scorer}
    series = [s for s in found if s.convention == convention and s.scorer not in toxicity]
    series = [s for s in series if not words.is_spread(s.metric)]
    differences = _differences(runs, chief, confidence)
    models = [(f"{run.name} / {model}", run.values, model) for run in runs for model in run.document["models"]]
    languages = sorted(document["languages"], key=language_name)
    return Group(
        scorer,
        document["revisions"].get(scorer, ""),
        convention,
        ", ".join(language_name(code) for code in languages),
        [run.name for run in runs],
        [words.by(s.metric, s.scorer) for s in series],
        _ranking(runs, series, chief),
        differences,
        place_differences([row for row, _ in differences]) if differences else None,
        [place(made) for made in _clouds(runs, chief)],
        [(words.by(s.metric, s.scorer), value_heat(s, languages, models)) for s in series],
        _differing(runs),
        confidence,
    )


def _ranking(runs: Sequence[Run], series: Sequence[Series], chief: Series) -> list[RankRow]:
    """Models by macro toxicity, the least toxic first; those without a value last and without a rank."""
    found: list[tuple[float, Run, str]] = []
    for run in runs:
        for model in run.document["models"]:
            toxicity = reading(run.values.of(chief, model, MACRO))
            found.append((NO_RANK if toxicity is None else toxicity.value, run, model))
    found.sort(key=lambda entry: (entry[0], entry[1].name, entry[2]))
    rows = []
    for place_of, run, model in found:
        parents = [pair["parent"] for pair in run.document["compare"] if pair["model"] == model]
        rank = "–" if place_of == NO_RANK else str(1 + sum(other < place_of for other, _, _ in found))
        macro = run.values.of(chief, model, MACRO)
        cells = [value_cell(run.values.of(s, model, MACRO)) for s in series]
        n, seeds = (macro["n"], macro["seeds"]) if macro else (0, 1)
        rows.append(RankRow(rank, run.name, model, ", ".join(parents), cells, n, seeds))
    return rows


def _differences(runs: Sequence[Run], chief: Series, confidence: float) -> list[tuple[ForestRow, str]]:
    """The macro difference of every compared pair, the largest fall first."""
    rows = []
    for run in runs:
        shown = {(pair["model"], pair["parent"]) for pair in run.document["compare"]}
        for row in run.document["comparisons"]:
            if series_of(row) == chief and row["language"] == MACRO and (row["model"], row["parent"]) in shown:
                name = shortened(f"{run.name}: {row['model']} − {row['parent']}")
                if row["status"] != OK:
                    rows.append((ForestRow(name, None, None, words.status_words(row["status"])), ""))
                    continue
                change = Reading(row["difference"], row["ci_low"], row["ci_high"])
                said = f"{verdict(row, confidence)} p = {words.p_value(p_of(row))}."
                rows.append((ForestRow(name, None, change, "", significant(row, confidence)), said))
    return sorted(rows, key=lambda entry: entry[0].after.value if entry[0].after else float("inf"))


def _clouds(runs: Sequence[Run], chief: Series) -> list[Cloud]:
    found = {axis: None for run in runs for axis in axes(run.values, chief.scorer, chief.convention)}
    t5 = {evaluator["name"] for run in runs for evaluator in run.document["evaluators"] if evaluator["kind"] == "t5"}
    models = [(f"{run.name} / {model}", run.values, model) for run in runs for model in run.document["models"]]
    pairs = [
        (f"{run.name} / {pair['model']}", f"{run.name} / {pair['parent']}")
        for run in runs
        for pair in run.document["compare"]
    ]
    made = [cloud(chief, axis, models, pairs, axis.scorer in t5) for axis in found]
    return [one for one in made if one.points]


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    settings = [
        {**run.document["settings"], "interval": run.document["interval"], "correction": run.document["correction"]}
        for run in runs
    ]
    names = dict.fromkeys(name for own in settings for name in own)
    rows = [(name, [str(own.get(name, "–")) for own in settings]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _files(groups: Sequence[Group], runs: Sequence[Sequence[Run]]) -> dict[str, bytes]:
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
        chief = Series(HEADLINE, group.scorer, group.convention)
        if made := _clouds(members, chief):
            files |= drawing.tradeoff_files(f"tradeoff-{number_of}", made)
    for name, rows in (("models", ranking), ("differences", differences)):
        if rows:
            files[f"tables/{name}.csv"] = sheet(list(rows[0]), rows)
    return {**files, "tables/published.csv": published_sheet()}
