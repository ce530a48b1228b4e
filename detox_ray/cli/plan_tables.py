"""The tables of `detox-ray plan`: the verdict first, then the numbers, then the assumptions that they rest on."""

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from detox_ray.cli.output import Listing, Output
from detox_ray.cli.terminal_tables import Cell, Column, TerminalTable
from detox_ray.estimate import ExperimentEstimate, Training
from detox_ray.estimate.assumptions import GIB
from detox_ray.estimate.document import document_of

FIELDS = ("table", "of", "name", "value", "unit", "assumption")


def write_plan(output: Output, estimate: ExperimentEstimate) -> None:
    """Write the estimate. CSV has a row per number; JSON is the document of `detox_ray.estimate.document`."""
    fits = not estimate.problems
    output.say(_verdict(estimate), "bold green" if fits else "bold red")
    for problem in estimate.problems:
        output.say(f"  {problem}")
    output.say("Every number is an estimate; nothing was measured. The assumptions are listed at the end.")
    output.say("")
    tables: list[TerminalTable | str] = [_models(estimate)]
    for training in estimate.trainings:
        tables += [_memory(training), _rows(training)]
    tables.append(_engines(estimate))
    if estimate.memory:
        tables.append(_stage_memory(estimate))
    tables += [_time(estimate), _disk(estimate), _assumptions(estimate)]
    output.write(Listing(FIELDS, list(_numbers(estimate)), tables, document_of(estimate)))


def _verdict(estimate: ExperimentEstimate) -> str:
    """Return a sentence: whether the experiment fits, the time and disk it takes, and its cost if there is a price."""
    assumed = estimate.assumptions
    device = f"{estimate.devices} {assumed.device}" if assumed.gpu else f"{estimate.devices} CPU cores"
    count = len(estimate.problems)
    fits = f"does not fit ({count} problem{'s' if count > 1 else ''})" if count else f"fits on {device}"
    spent = [f"{estimate.device_hours:.3g} {assumed.device_hour}s"]
    if estimate.cost is not None:
        spent.append(f"cost {estimate.cost:,.2f}")
    disk = sum(space.bytes for space in estimate.disk)
    text = f"{estimate.name} {fits}: {_duration(estimate.hours)} ({', '.join(spent)}), {_size(disk)} of disk"
    if unknown := estimate.not_estimated:
        text += f"; without {', '.join(cost.what for cost in unknown)}, not estimated"
    return text


def _models(estimate: ExperimentEstimate) -> TerminalTable:
    rows = [(name, f"{count:,}") for name, (count, _) in estimate.models.items()]
    return TerminalTable("Models", (Column("model", "key"), Column("parameters", "number")), rows)


def _memory(training: Training) -> TerminalTable:
    needed, fits = training.memory.needed("device"), "fits"
    if needed > training.limit:
        fits = "does not fit"
    workers = "the worker" if training.workers == 1 else f"each of {training.workers} workers"
    title = (
        f"Memory of {workers} training {_names(training)} "
        f"({training.trained:,} of {training.parameters:,} parameters trained)"
    )
    columns = (Column("part", "key"), Column("size", "number"), Column("where", "word"), Column("when"))
    rows: list[tuple[Cell, ...]] = [
        (part.name, _size(part.bytes), part.where, part.phase) for part in training.memory.parts
    ]
    limit = Text(f"of {_size(training.limit)}: {fits}", "bold" if fits == "fits" else "bold red")
    rows.append((Text("at the same time", "bold"), Text(_size(needed), "bold"), "device", limit))
    for where in ("host", "nvme"):
        if size := training.memory.needed(where):
            rows.append((Text("of each worker", "bold"), Text(_size(size), "bold"), where, ""))
    return TerminalTable(title, columns, rows)


def _rows(training: Training) -> str:
    rows = training.rows
    return (
        f"{training.work.steps:,} steps; {rows.train:,} rows to train on, {rows.validation:,} to validate with; "
        f"{rows.mean:.0f} tokens a sequence, padding {rows.padding_share:.0%}"
    )


def _engines(estimate: ExperimentEstimate) -> TerminalTable:
    titles = ("weights", "keys and values", "a token", "sequences at once")
    columns = (Column("model", "key"), *(Column(title, "number") for title in titles), Column("verdict", "word"))
    rows = [
        (
            engine.model,
            _size(engine.weights),
            _size(max(0, engine.room)),
            _size(engine.per_token),
            f"{engine.sequences:,}",
            "fits" if engine.fits else Text("does not fit", "bold red"),
        )
        for engine in estimate.engines
    ]
    return TerminalTable("Memory of generation, of each device", columns, rows)


def _stage_memory(estimate: ExperimentEstimate) -> TerminalTable:
    columns = (Column("stage", "key"), Column("what", "key"), Column("size", "number"), Column("verdict", "word"))
    rows: list[tuple[Cell, ...]] = [
        (held.stage, held.what, _size(held.bytes), "fits" if held.fits else Text("does not fit", "bold red"))
        for held in estimate.memory
    ]
    return TerminalTable("Memory of other stages, of each device", columns, rows)


def _time(estimate: ExperimentEstimate) -> TerminalTable:
    columns = (
        Column("stage", "key"),
        Column("what", "key"),
        Column("tokens", "number"),
        Column("time", "number"),
        Column(f"{estimate.assumptions.device_hour}s", "number"),
    )
    unknown = estimate.not_estimated
    rows: list[tuple[Cell, ...]] = [
        (
            cost.stage,
            cost.what,
            _short(cost.tokens),
            "not estimated" if cost in unknown else _duration(cost.hours),
            f"{cost.device_hours:.3g}" if cost.device_hours else "",
        )
        for cost in estimate.stages
    ]
    total = ("all", "", "", _duration(estimate.hours), f"{estimate.device_hours:.3g}")
    rows.append(tuple(Text(cell, "bold") for cell in total))
    return TerminalTable("Time", columns, rows)


def _disk(estimate: ExperimentEstimate) -> TerminalTable:
    rows: list[tuple[Cell, ...]] = [(space.name, _size(space.bytes)) for space in estimate.disk]
    total = _size(sum(space.bytes for space in estimate.disk))
    rows.append((Text("all, at most", "bold"), Text(total, "bold")))
    return TerminalTable("Disk", (Column("what", "key"), Column("size", "number")), rows)


def _assumptions(estimate: ExperimentEstimate) -> str:
    """Return the assumptions, one per line, each with the numbers that depend on it."""
    lines = [f"  {name}: {text}" for name, text in estimate.assumptions.as_text().items()]
    names: dict[tuple[str, str], list[str]] = {}
    for number in _numbers(estimate):
        if number["assumption"]:
            of = {"parameters": number["of"], "generation": number["of"], "time": f"{number['of']} {number['name']}"}
            name = of.get(number["table"], number["name"])
            names.setdefault((number["table"], number["assumption"]), []).append(name)
    lines += [f"  {table} ({', '.join(dict.fromkeys(of))}): {text}" for (table, text), of in names.items()]
    return "\n".join(["Assumptions", *lines])


def _numbers(estimate: ExperimentEstimate) -> Iterator[dict[str, Any]]:
    """Yield every number of the estimate with its unit and assumption, as rows of the CSV."""

    def number(table: str, of: str, name: str, value: float | None, unit: str, assumption: str = "") -> dict[str, Any]:
        return dict(zip(FIELDS, (table, of, name, value, unit, assumption), strict=True))

    yield number("total", "", "problems", len(estimate.problems), "")
    yield number("total", "", "time", estimate.hours, "hours")
    yield number("total", "", "device time", estimate.device_hours, f"{estimate.assumptions.device_hour}s")
    yield number("total", "", "cost", estimate.cost, "")
    yield number("total", "", "disk", sum(space.bytes for space in estimate.disk), "bytes")
    for name, (count, source) in estimate.models.items():
        yield number("parameters", name, "parameters", count, "", source)
    for training in estimate.trainings:
        names = _names(training)
        for part in training.memory.parts:
            yield number("memory", names, part.name, part.bytes, "bytes", part.assumption)
        yield number("memory", names, "at the same time", training.memory.needed("device"), "bytes")
        yield number("memory", names, "limit", training.limit, "bytes")
        rows = training.rows
        for name, value in (("steps", training.work.steps), ("rows", rows.train), ("validation rows", rows.validation)):
            yield number("training", names, name, value, "", rows.assumption)
        yield number("training", names, "sequence", rows.mean, "tokens", rows.assumption)
        yield number("training", names, "padding", rows.padding_share, "share", rows.assumption)
    for engine in estimate.engines:
        yield number("generation", engine.model, "weights", engine.weights, "bytes", engine.assumption)
        yield number("generation", engine.model, "keys and values", engine.room, "bytes", engine.assumption)
        yield number("generation", engine.model, "a token", engine.per_token, "bytes", engine.assumption)
        yield number("generation", engine.model, "sequences at once", engine.sequences, "", engine.assumption)
    for held in estimate.memory:
        yield number("memory", held.stage, held.what, held.bytes, "bytes", held.assumption)
    for cost in estimate.stages:
        known = cost not in estimate.not_estimated
        yield number("time", cost.stage, cost.what, cost.hours if known else None, "hours", cost.assumption)
    for cost in estimate.stages:
        if cost.tokens:
            yield number("tokens", cost.stage, cost.what, cost.tokens, "tokens")
        if cost.device_hours:
            unit = f"{estimate.assumptions.device_hour}s"
            yield number("device time", cost.stage, cost.what, cost.device_hours, unit)
    for space in estimate.disk:
        yield number("disk", "", space.name, space.bytes, "bytes", space.assumption)


def _names(training: Training) -> str:
    first, others = training.names[0], len(training.names) - 1
    return f"{first} and {others} like it" if others else first


def _size(number: float) -> str:
    for unit, name in ((GIB, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f} B"


def _short(number: float) -> str:
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return f"{number:.0f}" if number else ""


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
