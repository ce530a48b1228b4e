"""What committed units say of the work that made them, from their markers: by stage, and by model or other keys."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from detox_ray.cluster.stage import Context, Stage
from detox_ray.storage import Store, Superseded, Unit

Markers = list[dict[str, Any]]


class Timing(NamedTuple):
    """How long one kind of work took for one model."""

    stage: str
    model: str | None  # None for work that is not about one model
    seconds: float  # the workers' own
    units: int  # that are committed
    rows: int
    rate: str  # in the stage's own words, for example "5,800 tokens/s"; may be empty


class UnitGroup(NamedTuple):
    """Units of one stage that are alike but for language and shard."""

    stage: Stage
    keys: tuple[str, ...]  # values of the keys other than model and language: a scorer, an evaluator
    model: str  # the model; of a table without that key, the table's name

    @property
    def label(self) -> str:
        """Return what a table of timings calls it."""
        return ": ".join([self.stage.title, *self.keys])


def timings(context: Context) -> list[Timing]:
    """Return what the committed units of the stages on Ray took."""
    return [timing for _, timing in timed_groups(context)]


def timed_groups(context: Context) -> list[tuple[UnitGroup, Timing]]:
    """Return each group of units with what it took."""
    rows = []
    for work, markers in markers_by_work(context).items():
        seconds = sum(marker.get("seconds", 0.0) for marker in markers)
        row_count = sum(marker["rows"] for marker in markers)
        rate = work.stage.rate(markers, seconds) if seconds else ""
        rows.append((work, Timing(work.label, work.model, round(seconds, 2), len(markers), row_count, rate)))
    return rows


def markers_by_work(context: Context) -> dict[UnitGroup, Markers]:
    """Return the markers of the committed units of the stages on Ray."""
    stage_of = {table.name: stage for stage in context.stages if stage.on_ray for table in stage.writes}
    units = {unit: key for unit, key in context.keys.items() if unit.table in stage_of and unit in context.planned}
    grouped: dict[UnitGroup, Markers] = {}
    for unit, marker in _markers(context.store, context, units).items():
        keys = tuple(value for name, value in unit.keys if name not in ("model", "language"))
        model = unit.get("model", unit.table.replace("_", " "))
        grouped.setdefault(UnitGroup(stage_of[unit.table], keys, model), []).append(marker)
    return grouped


def _markers(store: Store, context: Context, units: Mapping[Unit, str]) -> dict[Unit, dict[str, Any]]:
    """Return the markers of those units that are committed; another run may be replacing some."""
    pending = context.pending([stage for stage in context.stages if stage.on_ray])
    there = [(unit, key) for unit, key in units.items() if unit not in pending]

    def marker(unit: Unit, key: str) -> dict[str, Any] | None:
        try:
            return store.info(unit, key)
        except Superseded:
            return None

    with ThreadPoolExecutor(16) as pool:  # object stores answer slowly, and many at once
        read = pool.map(lambda pair: marker(*pair), there)
        return {unit: content for (unit, _), content in zip(there, read, strict=True) if content is not None}
