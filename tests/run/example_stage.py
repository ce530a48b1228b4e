"""A stage as another package would write it: how many capital letters completions have.

It has two tables of its own, of two and of three keys, a metric over each, and a section of the report.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Section, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.storage import Store, Unit, UnitTables, define
from detox_ray.storage.metric_spec import ClusterSums, MetricInput, MetricSpec
from detox_ray.storage.tables import GENERATIONS

CAPITALS = define(
    "capitals",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("letters", pa.int64(), nullable=False),
        pa.field("capitals", pa.int64(), nullable=False),
    ],
)
MARKS = define(
    "marks",
    ("mark", "model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ],
)
MARKS_COUNTED = ("!", "?")


def by_prompt(rows: pa.Table, numerator: str, denominator: str | None) -> ClusterSums:
    """Sums of the columns over each prompt's samples; without ``denominator``, the number of samples."""
    sums: dict[str, list[int]] = {}
    for row in rows.to_pylist():
        total = sums.setdefault(row["prompt_id"], [0, 0])
        total[0] += row[numerator]
        total[1] += 1 if denominator is None else row[denominator]
    values = np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2)
    return ClusterSums(list(sums), values[:, 0], values[:, 1])


def capital_share(given: MetricInput) -> ClusterSums:
    return by_prompt(given.tables[CAPITALS.name], "capitals", "letters")


def marks_per_completion(given: MetricInput) -> ClusterSums:
    return by_prompt(given.tables[MARKS.name], "count", None)


class CapitalsWorker:
    """Counts a unit of completions per call."""

    def __init__(self, store: Store):
        self._store = store

    def make(self, task: Task) -> Product:
        rows = []
        for row in task.read(self._store, GENERATIONS).to_pylist():
            counts = {"letters": sum(map(str.isalpha, row["text"])), "capitals": sum(map(str.isupper, row["text"]))}
            rows.append({"prompt_id": row["prompt_id"], "sample": row["sample"], **counts})
        return Product(pa.Table.from_pylist(rows, schema=CAPITALS.columns), {"counted_by": "str.isupper"}, len(rows))


class MarksWorker:
    """Counts one mark in a unit of completions per call."""

    def __init__(self, store: Store):
        self._store = store

    def make(self, task: Task) -> Product:
        mark = task.unit["mark"]
        rows = [
            {"prompt_id": row["prompt_id"], "sample": row["sample"], "count": row["text"].count(mark)}
            for row in task.read(self._store, GENERATIONS).to_pylist()
        ]
        return Product(pa.Table.from_pylist(rows, schema=MARKS.columns), {"counted_by": "str.count"}, len(rows))


class LoudnessStage(Stage):
    """Counts capital letters and marks of every completion."""

    name = command = title = "loudness"
    version = 1
    summary = "capital letters and marks of every completion"
    measure = "texts"
    needs = (GENERATIONS,)
    writes = (CAPITALS, MARKS)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        planned: dict[Unit, Planned] = {}
        for source in context.units(GENERATIONS):
            keys: dict[str, Any] = dict(source.keys)
            planned[CAPITALS.unit(**keys, shard=source.shard)] = Planned((source,), {})
            for mark in MARKS_COUNTED:
                planned[MARKS.unit(mark=mark, **keys, shard=source.shard)] = Planned((source,), {"mark": mark})
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        return [
            Job(
                table.name, [task for task in tasks if task.unit.table == table.name], worker, settings, "texts", gpus=0
            )
            for table, worker in ((CAPITALS, CapitalsWorker), (MARKS, MarksWorker))
            for settings in [{"store": context.store}]
        ]

    def metrics(self) -> Sequence[MetricSpec]:
        return (
            MetricSpec(
                name="capital_share",
                title="Capital letters",
                meaning="share of a prompt's letters that are capital",
                short="Capitals",
                kind="cost",
                direction="lower",
                scorer="letters",
                needs=(CAPITALS,),
                compute=capital_share,
            ),
            MetricSpec(
                name="marks",
                title="Marks",
                meaning="marks per completion",
                short="Marks",
                kind="cost",
                direction="lower",
                needs=(MARKS,),
                compute=marks_per_completion,
            ),
        )

    def costs(self, work: Workload) -> list[Cost]:
        return [work.per_completion(self.command, "capital letters")]

    def section(self, context: Context) -> Section:
        tables = UnitTables(context.store, context.units(CAPITALS))
        items = [
            f"<li>{escape(model)} in {escape(language)}: {sum(rows['capitals'].to_pylist())} capital letters</li>"
            for (model, language), rows in tables.items()
        ]
        return Section("loudness", "Loudness", f"<ul>{''.join(items)}</ul>")
