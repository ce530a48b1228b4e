"""Scorers made of others: ensembles of several, and one mapped by a calibration. A run makes them of committed units.

They load no model and ask no text: a row is what its members' rows of the same text make it. It is "ok" only if all of
them are, else it has the first other status: a mean over those that happened to answer would be another scorer. An
"empty" row has a value where all members have one, as theirs.

Shapes: M members, N texts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.config import CalibratedConfig, EnsembleConfig
from detox_ray.data.calibration import Calibration
from detox_ray.score.cached_scorer import score_rows
from detox_ray.score.registry import ResolvedScorer
from detox_ray.storage import TABLES, Store, StoreError, Table
from detox_ray.storage.tables import EMPTY, OK, UNSUPPORTED

Floats = NDArray[np.float64]
Combine = Callable[[Floats], Floats]  # (M, N) -> (N,)
COMBINE: dict[str, Combine] = {
    "mean": lambda values: values.mean(0),
    "median": lambda values: np.median(values, axis=0),
    "max": lambda values: values.max(0),
}


class Column(NamedTuple):
    """One attribute of some texts."""

    values: Floats  # (N,); NaN where the status is neither "ok" nor "empty", or there is none of an "empty" one
    statuses: list[str]


class Derivation:
    """The rule by which a derived scorer's column follows from its members'."""

    def __init__(self, scorer: ResolvedScorer, store: Store):
        self._scorer = scorer
        self._calibration: Calibration | None = None
        if isinstance(scorer.config, CalibratedConfig):
            self._calibration = Calibration.load(store.read_bytes(f"{scorer.folder}/{scorer.file}").decode())

    def attributes(self, members: Sequence[Collection[str]]) -> list[str]:
        """Of the scorer, from its members'."""
        common = [name for name in members[0] if all(name in other for other in members)]
        return common if self._calibration is None else [name for name in common if name == "toxicity"]

    def column(self, members: Sequence[Column], language: str) -> Column:
        """One attribute of the texts, from the same attribute of each member."""
        statuses = [next((s for s in each if s != OK), OK) for each in zip(*(m.statuses for m in members), strict=True)]
        supported = self._scorer.languages is None or language in self._scorer.languages
        supported = supported and (self._calibration is None or language in self._calibration.languages)
        if not supported:
            statuses = [UNSUPPORTED] * len(statuses)
        values = self._value(np.stack([member.values for member in members]), language) if supported else None
        scored = np.array([status in (OK, EMPTY) for status in statuses], dtype=bool)
        return Column(np.where(scored, np.nan if values is None else values, np.nan), statuses)

    def _value(self, values_MN: Floats, language: str) -> Floats:
        """NaN where a member has no value."""
        if self._calibration is not None:
            return self._calibration.apply(values_MN[0], language)
        assert isinstance(self._scorer.config, EnsembleConfig)
        return COMBINE[self._scorer.config.combine](values_MN)


class DerivedWorker:
    """Makes the units of an ensemble or of a calibrated scorer."""

    def __init__(self, scorer: ResolvedScorer, store: Store):
        self._scorer, self._store = scorer, store
        self._derivation = Derivation(scorer, store)

    def make(self, task: Task) -> Product:
        language = task.unit["language"]
        tables = [self._store.read(unit, key) for unit, key in task.inputs]
        infos = [self._store.info(unit, key) for unit, key in task.inputs]
        common = self._derivation.attributes([info["attributes"] for info in infos])
        texts, columns = tables[0].slice(0, 0), dict[str, Column]()
        for name in common:
            rows = [table.filter(pc.equal(table["attribute"], name)) for table in tables]
            texts = _same_texts(rows)
            columns[name] = self._derivation.column([_column(each) for each in rows], language)
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
    """The columns that say which text a row is of. Raises StoreError where the members' differ."""
    names = tables[0].column_names[: tables[0].column_names.index("attribute")]
    first = tables[0].select(names)
    if any(not table.select(names).equals(first) for table in tables):
        raise StoreError("units of the members of a scorer are not of the same texts: delete them and run again")
    return first


def _table(table: Table, texts: pa.Table, columns: Mapping[str, Column]) -> pa.Table:
    """Attributes differ in their statuses no more than in their values: each has its own."""
    parts = [
        score_rows(table, texts, {name: [None if np.isnan(v) else float(v) for v in c.values]}, c.statuses)
        for name, c in columns.items()
    ]
    return pa.concat_tables(parts) if parts else score_rows(table, texts, {}, [])
