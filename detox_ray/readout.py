"""Reads a run's folder back: for measuring, for the report, for the manifest and for `detox-ray show`."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from detox_ray.config import Experiment
from detox_ray.measure import Inputs, Measured, Settings
from detox_ray.plan import METRICS, Prepared
from detox_ray.store import Store, Unit

PLAN = "plan.json"


class Tables(Mapping[Any, pa.Table]):
    """Partition -> its shards' rows together, read when asked for: one language at a time fits in memory.

    A table with one partition key (prompts) is keyed by its value, not by a tuple of one.
    """

    def __init__(self, store: Store, units: Mapping[Unit, str]):
        self._store = store
        self._units: dict[Any, list[tuple[Unit, str]]] = {}
        for unit, key in sorted(units.items()):
            place = unit.partition if len(unit.partition) > 1 else unit.partition[0]
            self._units.setdefault(place, []).append((unit, key))

    def __getitem__(self, place: Any) -> pa.Table:
        units = self._units[place]
        return self._store.read_all(units, units[0][0].table)

    def __contains__(self, place: object) -> bool:
        return place in self._units

    def __iter__(self) -> Iterator[Any]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)


def prompt_units(prepared: Prepared) -> dict[Unit, str]:
    return {Unit("prompts", (language,)): key for language, (key, _) in prepared.prompts.items()}


def settings(experiment: Experiment) -> Settings:
    chosen = experiment.measure
    return Settings(chosen.convention, chosen.bootstrap, chosen.confidence, chosen.threshold, experiment.seed)


def inputs(prepared: Prepared) -> Inputs:
    """What `measure` reads."""
    experiment, store, plan = prepared.experiment, prepared.store, prepared.plan
    scores = plan.of_table("scores")
    blanks: dict[tuple[str, str], float | None] = {}
    if experiment.measure.convention == "paper":  # the only one that scores empty completions
        for unit, key in scores.items():
            scorer, _, language = unit.partition
            blanks[scorer, language] = (store.info(unit, key).get("blank") or {}).get("toxicity")
    return Inputs(
        languages=experiment.languages,
        models=list(prepared.models),
        compare=[(comparison.model, comparison.parent) for comparison in experiment.comparisons],
        supports={s.name: experiment.languages if s.languages is None else s.languages for s in prepared.scorers},
        reference=experiment.score.reference,
        prompts=Tables(store, prompt_units(prepared)),
        generations=Tables(store, plan.generate),
        scores=Tables(store, scores),
        blanks=blanks,
        likelihoods=Tables(store, plan.of_table("likelihoods")),
    )


def measured_info(measured: Measured) -> dict[str, Any]:
    """What the marker of the metrics says beside them."""
    return {
        "validity": [row._asdict() for row in measured.validity],
        "counts": [row._asdict() for row in measured.counts],
    }


def write_plan(prepared: Prepared) -> None:
    """plan.json: what `show` and other tools count commits against."""
    stages = {
        stage: [[unit.table, list(unit.partition), unit.shard, key] for unit, key in units.items()]
        for stage, units in prepared.plan._asdict().items()
    }
    prepared.store.write_json(PLAN, stages)


def read_plan(store: Store) -> dict[str, dict[Unit, str]]:
    """The plan of the newest call on a run's folder. Raises FileNotFoundError where there is none."""
    stages = store.read_json(PLAN)
    return {
        stage: {Unit(table, tuple(partition), shard): key for table, partition, shard, key in rows}
        for stage, rows in stages.items()
    }
