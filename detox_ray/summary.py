"""What the terminal shows of a run: the closing table and `detox-ray show`."""

from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table

from detox_ray import readout
from detox_ray.config import InputError
from detox_ray.pipeline import Outcome
from detox_ray.store import Store, Unit


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def closing(console: Console, outcome: Outcome) -> None:
    """After a run: what each stage did and took, the headline, where the report is."""
    table = Table(title=f"{outcome.prepared.experiment.name}: {duration(outcome.seconds)}", title_justify="left")
    for name, justify in (("stage", "left"), ("made", "right"), ("kept", "right"), ("time", "right"), ("rate", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    rates: dict[str, list[str]] = defaultdict(list)
    for timing in readout.timings(outcome.prepared):
        room = "score" if timing.stage.startswith(("score", "perplexity")) else timing.stage
        rates[room].append(f"{timing.stage} {timing.model}: {timing.rate}")
    for stage in outcome.stages:
        table.add_row(
            stage.stage,
            str(stage.made),
            str(stage.kept),
            duration(stage.seconds) if stage.made else "",
            "\n".join(rates[stage.stage]) if stage.made else "",
        )
    console.print(table)
    if outcome.peak_memory_gib is not None and any(stage.made for stage in outcome.stages):
        console.print(f"peak memory of all local processes: {outcome.peak_memory_gib:.1f} GiB", highlight=False)
    _headline(console, outcome.prepared.store)


def _headline(console: Console, store: Store) -> None:
    if not store.exists("report/results.json"):
        return
    results = store.read_json("report/results.json")
    for line in readout.headline(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {store.path('report/index.html')}", highlight=False, markup=False, soft_wrap=True)


def show(console: Console, store: Store) -> None:
    """Committed and planned units by stage, model and language."""
    try:
        plan = readout.read_plan(store)
    except FileNotFoundError:
        raise InputError(f"{store.uri} is not a run's folder: it has no {readout.PLAN}") from None
    committed: dict[Unit, str] = {}
    for table in {unit.table for units in plan.values() for unit in units}:
        committed |= store.committed(table)
    languages = sorted({_language(unit) for unit in plan["generate"]})
    grid = Table(title=store.uri, title_justify="left", caption="· nothing yet   ✓ all committed   1/4 units committed")
    for column in ("stage", "what", "units"):
        grid.add_column(column)
    for language in languages:
        grid.add_column(language, justify="center")
    for stage, units in plan.items():
        rows: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for unit, key in units.items():
            rows[_what(unit)][_language(unit)].append(committed.get(unit) == key)
        for what, cells in rows.items():
            flags = [flag for cell in cells.values() for flag in cell]
            by_language = [_cell(cells.get(language)) for language in languages]
            grid.add_row(stage, what, f"{sum(flags)}/{len(flags)}", *by_language)
    console.print(grid)
    _headline(console, store)


def _what(unit: Unit) -> str:
    if unit.table in ("metrics", "comparisons", "report"):
        return unit.table
    if unit.table == "likelihoods":
        return f"{unit.partition[0]}: held-out text"
    return ": ".join(reversed(unit.partition[:-1])) or unit.partition[0]


def _language(unit: Unit) -> str:
    return unit.partition[-1] if unit.table in ("generations", "scores", "likelihoods") else ""


def _cell(flags: list[bool] | None) -> str:
    if flags is None:
        return ""
    done: Any = sum(flags)
    return "✓" if done == len(flags) else f"{done}/{len(flags)}" if done else "·"
