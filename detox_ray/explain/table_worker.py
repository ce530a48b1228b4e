"""The worker that computes tables from other tables, without a model or a GPU."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.explain import tables
from detox_ray.explain.activation_tables import (
    NeuronSets,
    Prompted,
    contribution_rows,
    from_rows,
    projections_of,
    source_activation_rows,
    source_ranks,
    source_rows,
)
from detox_ray.explain.language_overlap import overlap_rows
from detox_ray.explain.probing import probe_of
from detox_ray.explain.residual import shift_rows
from detox_ray.explain.settings import Settings
from detox_ray.explain.transfer_tables import PromptScores, correlation_rows, predictor_rows, prompt_scores
from detox_ray.storage import Store, Table, Unit
from detox_ray.storage.tables import SCORES


class Chosen(NamedTuple):
    """A parent's candidates, and the reading and SOURCES that belong to them."""

    sets: NeuronSets
    english: Prompted  # the reading of the parent's own English continuations
    sources: pa.Table  # SOURCES


class TableWorker:
    """A worker that makes one unit per call.

    Args:
        settings: the stage's settings.
        parents: tuned model -> its parent.
        properties: predictor -> language -> value, for predictors that need no model.
        store: the run's store.
    """

    def __init__(
        self,
        settings: Settings,
        parents: Mapping[str, str],
        properties: Mapping[str, Mapping[str, float]],
        store: Store,
    ):
        self._settings, self._parents, self._properties, self._store = settings, parents, properties, store
        self._chosen_by_key: dict[tuple[str, ...], Chosen] = {}
        self._makers: dict[str, Callable[[Task], pa.Table]] = {
            tables.SOURCES.name: self._sources,
            tables.SOURCE_ACTIVATIONS.name: self._source_activations,
            tables.LANGUAGE_OVERLAPS.name: self._language_overlaps,
            tables.RESIDUAL_SHIFTS.name: self._residual_shifts,
            tables.CONTRIBUTIONS.name: self._contributions,
            tables.PREDICTORS.name: self._predictors,
            tables.CORRELATIONS.name: self._correlations,
        }

    def make(self, task: Task) -> Product:
        """Make one unit."""
        rows = self._makers[task.unit.table](task)
        return Product(rows, {}, rows.num_rows)

    def _one(self, task: Task, table: Table, **keys: str) -> pa.Table:
        """Return the rows of the task's only input of a table with these keys."""
        ((unit, key),) = [each for each in task.inputs_of(table) if keys.items() <= dict(each[0].keys).items()]
        return self._store.read(unit, key)

    def _chosen(self, task: Task) -> Chosen:
        """Return the candidates of the task's parent, which are read once for all units of the parent."""
        model = task.unit["model"]
        parent = self._parents.get(model, model)
        keys = [key for _, key in task.inputs_of(tables.NEURONS)]
        if (parent, *keys) not in self._chosen_by_key:
            sets = NeuronSets.of(self._one(task, tables.NEURONS))
            english = from_rows(self._one(task, tables.ACTIVATIONS, text="own", model=parent, language="en"))
            sources = source_rows(sets, english, self._settings.choose, self._settings.resampling)
            self._chosen_by_key[parent, *keys] = Chosen(sets, english, sources)
        return self._chosen_by_key[parent, *keys]

    def _sources(self, task: Task) -> pa.Table:
        return self._chosen(task).sources

    def _source_activations(self, task: Task) -> pa.Table:
        model, language = task.unit["model"], task.unit["language"]
        text = task.unit["text"] if model in self._parents else "own"  # a parent's text is its own
        prompted = from_rows(self._one(task, tables.ACTIVATIONS, text=text, model=model, language=language))
        chosen = self._chosen(task)
        return source_activation_rows(chosen.sets, source_ranks(chosen.sources), chosen.english, prompted)

    def _language_overlaps(self, task: Task) -> pa.Table:
        def means_of(rows: pa.Table) -> list[NDArray[np.float64]]:
            reading = from_rows(rows).reading
            return [reading.means(layer) for layer in range(len(reading.layers))]

        projections = projections_of(self._one(task, tables.PROJECTIONS))
        means_by_unit = self._store.read_each(task.inputs_of(tables.ACTIVATIONS), means_of)
        means = {unit["language"]: by_layer for unit, by_layer in means_by_unit.items()}
        config = self._settings.config
        count = min(config.value_vectors, sum(map(len, projections)))
        return overlap_rows(means, projections, count, config.probe.seed)

    def _residual_shifts(self, task: Task) -> pa.Table:
        model = task.unit["model"]
        before, after = (self._one(task, tables.RESIDUAL_STATES, model=name) for name in (self._parents[model], model))
        return shift_rows(before, after, probe_of(self._one(task, tables.PROBES)).weights)

    def _contributions(self, task: Task) -> pa.Table:
        model = task.unit["model"]
        parent = self._parents[model]
        projected = [projections_of(self._one(task, tables.PROJECTIONS, model=name)) for name in (parent, model)]
        readings = [from_rows(self._one(task, tables.ACTIVATIONS, model=name)).reading for name in (parent, model)]
        return contribution_rows(projected[0], projected[1], readings[0], readings[1])

    def _predictors(self, task: Task) -> pa.Table:
        """Return the rows of PREDICTORS of the task's parent."""
        rows_by_unit = self._store.read_each(task.inputs_of(tables.ALIGNMENTS), lambda rows: rows)
        alignments = {unit["language"]: rows for unit, rows in rows_by_unit.items()}
        return predictor_rows(alignments, self._properties, self._settings.convention.overlap)

    def _correlations(self, task: Task) -> pa.Table:
        model = task.unit["model"]
        parent = self._parents[model]
        before, after = (self._scores(task, name) for name in (parent, model))
        return correlation_rows(parent, self._predictors(task), before, after, self._settings.resampling)

    def _scores(self, task: Task, model: str) -> dict[str, PromptScores]:
        """Return {language: mean toxicity of each prompt} for one model."""
        units: dict[str, list[tuple[Unit, str]]] = {}
        for unit, key in task.inputs_of(SCORES):
            if unit["model"] == model:
                units.setdefault(unit["language"], []).append((unit, key))
        return {language: prompt_scores(self._store.read_all(parts, SCORES)) for language, parts in units.items()}
