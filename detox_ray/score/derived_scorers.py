"""Scorers that are made from others, such as an ensemble or a calibrated scorer, by combining committed units.

They load no model and read no text: each row follows from the members' rows for the same text. Its status is "ok" only
if all of theirs are, else the first other status, because a mean over just those members that succeeded would be a
different scorer. Like theirs, an "empty" row has a value if all members have one.

Shape: N texts.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.score.cached_scorer import score_rows
from detox_ray.score.scorer_variant import Floats, ResolvedScorer
from detox_ray.storage import TABLES, Store, StoreError, Table
from detox_ray.storage.markers import ScoreMarker
from detox_ray.storage.tables import EMPTY, OK, UNSUPPORTED


class Column(NamedTuple):
    """One attribute of some texts."""

    values: Floats  # (N,); NaN unless the status is "ok", or "empty" with a value
    statuses: list[str]


class Derivation:
    """The rule by which a derived scorer's column follows from its members'."""

    def __init__(self, scorer: ResolvedScorer, store: Store):
        self._languages = scorer.languages
        self._rule = scorer.config.combination(scorer, store)

    def attributes(self, members: Sequence[Collection[str]]) -> list[str]:
        """Return the scorer's attributes, given those of its members."""
        common = [name for name in members[0] if all(name in other for other in members)]
        return common if self._rule.attributes is None else [name for name in common if name in self._rule.attributes]

    def column(self, members: Sequence[Column], language: str) -> Column:
        """Compute one attribute of the texts from the same attribute of each member."""
        if any(known is not None and language not in known for known in (self._languages, self._rule.languages)):
            unsupported = [UNSUPPORTED] * len(members[0].statuses)
            return Column(np.full(len(unsupported), np.nan), unsupported)
        of_members = zip(*(member.statuses for member in members), strict=True)
        statuses = [next((status for status in row if status != OK), OK) for row in of_members]
        values = self._rule.combine(np.stack([member.values for member in members]), language)
        scored = np.array([status in (OK, EMPTY) for status in statuses], dtype=bool)
        return Column(np.where(scored, values, np.nan), statuses)


class DerivedWorker:
    """A worker that makes the units of one derived scorer from its members' units."""

    def __init__(self, scorer: ResolvedScorer, store: Store):
        self._scorer, self._store = scorer, store
        self._derivation = Derivation(scorer, store)

    def make(self, task: Task) -> Product:
        language = task.unit["language"]
        tables = list(self._store.read_each(task.inputs, lambda rows: rows).values())
        markers = [self._store.marker(unit, key, ScoreMarker) for unit, key in task.inputs]
        common = self._derivation.attributes([marker.attributes for marker in markers])
        texts, columns = tables[0].slice(0, 0), dict[str, Column]()
        for name in common:
            rows = [table.filter(pc.equal(table["attribute"], name)) for table in tables]
            texts = _same_texts(rows)
            columns[name] = self._derivation.column([_column(of_member) for of_member in rows], language)
        statuses = columns[common[0]].statuses if common else []
        info: dict[str, Any] = {
            "scorer": self._scorer.name,
            "revision": self._scorer.revision,
            "device": "cpu",
            "texts": texts.num_rows,
            "members": [member.name for member in self._scorer.members],
            "status_counts": dict(Counter(statuses)),
            "attributes": common,
        }
        return Product(_table(TABLES[task.unit.table], texts, columns), info, texts.num_rows)


def _column(rows: pa.Table) -> Column:
    values = rows["value"].to_numpy(zero_copy_only=False).astype(np.float64)
    return Column(values, rows["status"].to_pylist())


def _same_texts(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the columns that identify a row's text. Raises StoreError if the members' differ."""
    names = tables[0].column_names[: tables[0].column_names.index("attribute")]
    first = tables[0].select(names)
    if any(not table.select(names).equals(first) for table in tables):
        raise StoreError("the units of a scorer's members have different texts: delete these units and run again")
    return first


def _table(table: Table, texts: pa.Table, columns: Mapping[str, Column]) -> pa.Table:
    """Make the table. Each attribute has its own values and statuses."""
    parts = [
        score_rows(table, texts, {name: [None if np.isnan(v) else float(v) for v in c.values]}, c.statuses)
        for name, c in columns.items()
    ]
    return pa.concat_tables(parts) if parts else score_rows(table, texts, {}, [])
