"""Timings of committed units from their markers, by stage and by model or other keys."""

from typing import Any, NamedTuple

from detox_ray.cluster.stage import Context, Stage
from detox_ray.storage import marker_summary

Markers = list[dict[str, Any]]


class Timing(NamedTuple):
    """The duration of one kind of work for one model."""

    stage: str
    model: str | None  # None for work that does not belong to a single model
    seconds: float  # sum of the workers' time
    units: int  # number of committed units
    rows: int
    rate: str  # throughput, for example "5,800 tokens/s"; may be empty


class UnitGroup(NamedTuple):
    """Units of one stage that differ only in language, shard and the stage's `variations`."""

    stage: Stage
    keys: tuple[str, ...]  # values of the keys other than model and language, such as a scorer or an evaluator
    model: str  # the model, or the table's name if the table has no model key

    @property
    def label(self) -> str:
        """Return the group's name in a table of timings."""
        return ": ".join([self.stage.title, *self.keys])


def timings(context: Context) -> list[Timing]:
    """Return the timings of the committed units of stages on Ray."""
    return [timing for _, timing in timed_groups(context)]


def timed_groups(context: Context) -> list[tuple[UnitGroup, Timing]]:
    """Return each group of units with its timing."""
    rows = []
    for work, markers in markers_by_work(context).items():
        seconds = sum(marker.get("seconds", 0.0) for marker in markers)
        row_count = sum(marker["rows"] for marker in markers)
        rate = work.stage.rate(markers, seconds) if seconds else ""
        rows.append((work, Timing(work.label, work.model, round(seconds, 2), len(markers), row_count, rate)))
    return rows


def markers_by_work(context: Context, keep: bool = False) -> dict[UnitGroup, Markers]:
    """Return the markers of the committed units of stages on Ray.

    Args:
        context: The planned run.
        keep: Whether to add them to the summaries; only the process that holds the folder's lock may do so.
    """
    stage_of = {table.name: stage for stage in context.stages if stage.on_ray for table in stage.writes}
    units = {unit: key for unit, key in context.keys.items() if unit.table in stage_of and unit in context.planned}
    pending = context.pending([stage for stage in context.stages if stage.on_ray])
    committed = {unit: key for unit, key in units.items() if unit not in pending}
    grouped: dict[UnitGroup, Markers] = {}
    for unit, marker in marker_summary.read(context.store, committed, keep).items():
        stage = stage_of[unit.table]
        keys = tuple(value for name, value in unit.keys if name not in ("model", "language", *stage.variations))
        model = unit.get("model", unit.table.replace("_", " "))
        grouped.setdefault(UnitGroup(stage, keys, model), []).append(marker)
    return grouped
