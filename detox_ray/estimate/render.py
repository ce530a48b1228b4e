"""Show an estimate as tables for people, and as JSON for programs."""

from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detox_ray.estimate import ExperimentEstimate, Training
from detox_ray.estimate.assumptions import GIB


def as_json(estimate: ExperimentEstimate) -> dict[str, Any]:
    """Return the estimate as JSON: every number has its unit in its name and its assumption beside it."""
    models = {name: {"parameters": count, "assumption": source} for name, (count, source) in estimate.models.items()}
    return {
        "experiment": estimate.name,
        "estimate": True,
        "assumptions": estimate.assumptions.as_text(),
        "fits": not estimate.problems,
        "problems": [problem._asdict() for problem in estimate.problems],
        "models": models,
        "trainings": [_training(training) for training in estimate.trainings],
        "engines": [{**_engine(engine), "fits": engine.fits} for engine in estimate.engines],
        "prompts": estimate.prompts._asdict(),
        "stages": [stage._asdict() for stage in estimate.stages],
        "hours": estimate.hours,
        "device_hours": estimate.device_hours,
        "disk": [space._asdict() for space in estimate.disk],
        "disk_bytes": sum(space.bytes for space in estimate.disk),
    }


def _training(training: Training) -> dict[str, Any]:
    return {
        "models": training.names,
        "parameters": training.parameters,
        "trained_parameters": training.trained,
        "workers": training.workers,
        "rows": {**training.rows._asdict(), "padding_share": training.rows.padding_share},
        "steps": training.work.steps,
        "evaluations": training.work.evaluations,
        "tokens": training.work.training.tokens,
        "operations": training.work.operations,
        "memory": {
            "device_bytes": training.memory.needed("device"),
            "limit_bytes": training.limit,
            "fits": training.memory.needed("device") <= training.limit,
            "host_bytes": training.memory.needed("host"),
            "nvme_bytes": training.memory.needed("nvme"),
            "parts": [part._asdict() for part in training.memory.parts],
        },
        "advice": [advice._asdict() for advice in training.advice],
    }


def _engine(engine: Any) -> dict[str, Any]:
    names = {
        "weights": "weights_bytes",
        "room": "kv_room_bytes",
        "per_token": "kv_bytes_per_token",
        "limit": "limit_bytes",
    }
    return {names.get(name, name): value for name, value in engine._asdict().items()}


def show(console: Console, estimate: ExperimentEstimate) -> None:
    """Print the estimate as tables, whose last column holds the assumptions."""
    console.print(f"[bold]{escape(estimate.name)}: estimates, nothing was measured[/]", highlight=False)
    for name, text in estimate.assumptions.as_text().items():
        console.print(f"  {name}: {escape(text)}", highlight=False, soft_wrap=True)
    models = _table("Models", ("model", "left"), ("parameters", "right"))
    for name, (count, source) in estimate.models.items():
        models.add_row(escape(name), f"{count:,}", escape(source))
    console.print(models)
    for training in estimate.trainings:
        console.print(_memory(training))
        rows = training.rows
        console.print(
            f"  {training.work.steps:,} steps; {rows.train:,} rows to train on, {rows.validation:,} to validate with; "
            f"{rows.mean:.0f} tokens a sequence, padding {rows.padding_share:.0%} ({escape(rows.assumption)})",
            highlight=False,
            soft_wrap=True,
        )
    _engines(console, estimate)
    stages = _table(
        "Time", ("stage", "left"), ("what", "left"), ("tokens", "right"), ("time", "right"), ("device", "right")
    )
    for stage in estimate.stages:
        stages.add_row(
            stage.stage,
            escape(stage.what),
            _short(stage.tokens),
            _time(stage.hours),
            _time(stage.device_hours) if stage.device_hours else "",
            escape(stage.assumption),
        )
    hours, device_hours = f"[bold]{_time(estimate.hours)}[/]", f"[bold]{_time(estimate.device_hours)}[/]"
    unit = "GPU-hours" if estimate.assumptions.gpu else "core-hours"
    stages.add_row("[bold]all[/]", "", "", hours, device_hours, unit)
    console.print(stages)
    disk = _table("Disk", ("what", "left"), ("size", "right"))
    for space in estimate.disk:
        disk.add_row(escape(space.name), _size(space.bytes), escape(space.assumption))
    disk.add_row("[bold]all, at most[/]", f"[bold]{_size(sum(space.bytes for space in estimate.disk))}[/]", "")
    console.print(disk)


def _memory(training: Training) -> Table:
    names = (
        training.names[0] if len(training.names) == 1 else f"{training.names[0]} and {len(training.names) - 1} like it"
    )
    needed, verdict = training.memory.needed("device"), "fits"
    if needed > training.limit:
        verdict = "[bold red]does not fit[/]"
    title = (
        f"Memory of each of {training.workers} workers training {escape(names)} "
        f"({training.trained:,} of {training.parameters:,} parameters trained)"
    )
    table = _table(title, ("part", "left"), ("size", "right"), ("where", "left"), ("when", "left"))
    for part in training.memory.parts:
        table.add_row(part.name, _size(part.bytes), part.where, part.phase, escape(part.assumption))
    table.add_row(
        "[bold]at the same time[/]", f"[bold]{_size(needed)}[/]", "device", "", f"of {_size(training.limit)}: {verdict}"
    )
    for where in ("host", "nvme"):
        if size := training.memory.needed(where):
            table.add_row("", _size(size), where, "", "of each worker")
    return table


def _engines(console: Console, estimate: ExperimentEstimate) -> None:
    numbers = ("weights", "keys and values", "a token", "at once")
    table = _table("Generation, per device", ("model", "left"), *((name, "right") for name in numbers))
    for engine in estimate.engines:
        table.add_row(
            escape(engine.model),
            _size(engine.weights),
            _size(max(0, engine.room)),
            _size(engine.per_token),
            f"{engine.sequences:,}",
            escape(engine.assumption) + ("" if engine.fits else ": [bold red]does not fit[/]"),
        )
    console.print(table)


def _table(title: str, *columns: tuple[str, Literal["left", "right"]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name, justify in columns:
        table.add_column(name, justify=justify)
    table.add_column("assumption")
    return table


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


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
