"""The measure stage, which computes metrics, comparisons and the scorers' validity from all committed tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from detox_ray.cluster import Cluster
from detox_ray.cluster.costs import Cost, Workload, timed
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.config import Experiment
from detox_ray.data import reference
from detox_ray.measure import Inputs, Settings, Validity, measure, specs
from detox_ray.measure.conventions import SWITCHES
from detox_ray.measure.validity import has_evidence, labelled_validity
from detox_ray.storage import Table, Unit, UnitTables
from detox_ray.storage.completion_tables import ABILITY
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import (
    AGREEMENTS,
    COMPARISONS,
    DIVERSITIES,
    FLUENCIES,
    GENERATIONS,
    IDENTIFICATIONS,
    LABELLED,
    LABELLED_SCORES,
    LIKELIHOODS,
    METRICS,
    PROMPTS,
    SCORES,
    STATUS_COUNTS,
    VALIDITY,
)

SECONDS = 120.0  # assumed for `detox-ray plan`


class MeasureStage(Stage):
    """The stage that measures the results of all other stages, on the driver."""

    name = command = title = "measure"
    version = 7  # raise it when a number changes
    summary = "metrics and comparisons with their intervals"
    writes = (METRICS, COMPARISONS, VALIDITY, AGREEMENTS, STATUS_COUNTS)
    on_ray = False

    def __init__(self, measured: Sequence[Table]):
        self.needs = (PROMPTS, ABILITY.prompts, LABELLED, *measured)

    def metrics(self) -> Sequence[MetricSpec]:
        return specs()

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        experiment = context.experiment
        settings = {
            # The order of rows follows these lists, and "macro" is the mean over these languages.
            "languages": experiment.languages,
            "models": list(experiment.models),
            "metrics": [[spec.name, spec.version] for spec in metrics_of(context)],  # other packages may add some
            "scorers": experiment.score.names,
            "quality": experiment.quality.model_dump(),
            "reference": experiment.score.reference,
            "compare": [comparison.model_dump() for comparison in experiment.comparisons],
            "seed_groups": list(experiment.seed_groups.items()),
            "settings": experiment.measure.model_dump(),
            "validity": experiment.validity and experiment.validity.model_dump(),
            "seed": experiment.seed,
        }
        planned = Planned(tuple(context.units(*self.needs)), settings)
        return {table.unit(): planned for table in self.writes}

    def run(self, context: Context, pending: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
        progress.say("measuring: metrics and comparisons with intervals")
        against_labels = validities(context)
        measured = measure(
            inputs_of(context, evidence(context, against_labels)), settings_of(context.experiment), metrics_of(context)
        )
        rows = {
            COMPARISONS: measured.comparisons,
            VALIDITY: _table(VALIDITY, [*against_labels, *measured.validity]),
            AGREEMENTS: _table(AGREEMENTS, measured.agreement),
            STATUS_COUNTS: _table(STATUS_COUNTS, measured.counts),
            METRICS: measured.metrics,
        }
        for table, content in rows.items():
            context.store.commit(table.unit(), context.keys[table.unit()], content)

    def costs(self, work: Workload) -> list[Cost]:
        return [timed(self.command, "measure and report", SECONDS, "assumed")]


def metrics_of(context: Context) -> tuple[MetricSpec, ...]:
    """Return the metrics of all stages that have units, those of this stage first."""
    others = (stage for stage in context.stages if not isinstance(stage, MeasureStage) and context.units_of([stage]))
    return (*specs(), *(spec for stage in others for spec in stage.metrics()))


def settings_of(experiment: Experiment) -> Settings:
    """Return the choices behind every number of an experiment."""
    chosen = experiment.measure
    return Settings(
        chosen.convention,
        chosen.bootstrap,
        chosen.confidence,
        chosen.threshold,
        experiment.seed,
        {name: getattr(chosen, name) for name in SWITCHES},
        chosen.interval,
        chosen.correction,
    )


def validities(context: Context) -> list[Validity]:
    """Return the validity of each scorer in each language, from its scores of the experiment's labelled text.

    The list is empty if the experiment has no labelled text.
    """
    config = context.experiment.validity
    if config is None:
        return []
    labelled = UnitTables(context.store, context.units(LABELLED))
    scores = UnitTables(context.store, context.units(LABELLED_SCORES))
    resampling = settings_of(context.experiment).resampling
    rows = []
    for scorer in context.experiment.score.names:
        for language in context.experiment.languages:
            row, _ = labelled_validity(
                labelled[language],
                scores[scorer, language],
                language,
                resampling,
                scorer=scorer,
                reference=reference(config),
                minimum=config.minimum,
            )
            rows.append(row)
    return rows


def evidence(context: Context, rows: Sequence[Validity]) -> Mapping[str, list[str]]:
    """Return scorer -> languages that count in its macro means.

    The mapping is empty, which means all languages that a scorer knows, if there is no labelled text or if the user
    asks for it (measure.macro: all).
    """
    if context.experiment.measure.macro == "all" or not rows:
        return {}
    languages: dict[str, list[str]] = {scorer: [] for scorer in context.experiment.score.names}
    for row in rows:
        if has_evidence(row):
            languages[row.scorer].append(row.language)
    return languages


def inputs_of(context: Context, counting: Mapping[str, Sequence[str]]) -> Inputs:
    """Return the inputs of measuring. ``counting`` maps scorers to the languages that count in their macro means."""
    experiment = context.experiment

    def tables(table: Table) -> UnitTables:
        return UnitTables(context.store, context.units(table))

    inputs = Inputs(
        languages=experiment.languages,
        models=list(experiment.models),
        compare=[(comparison.model, comparison.parent) for comparison in experiment.comparisons],
        supports=context.supported,
        reference=experiment.score.reference,
        prompts=tables(PROMPTS),
        generations=tables(GENERATIONS),
        scores=tables(SCORES),
        likelihoods=tables(LIKELIHOODS),
        identifications=tables(IDENTIFICATIONS),
        fluencies=tables(FLUENCIES),
        diversities=tables(DIVERSITIES),
        identifier=experiment.quality.identifier or "",
        diversity_units=experiment.quality.diversity or "",
        english_words="script" if experiment.quality.word_list is None else "list",
        evidence=counting,
        tables={table.name: tables(table) for spec in metrics_of(context) for table in spec.needs},
        seed_groups=experiment.seed_groups,
    )
    if experiment.ability is None:
        return inputs
    ability = replace(
        inputs,
        prompts=tables(ABILITY.prompts),
        generations=tables(ABILITY.generations),
        identifications=tables(ABILITY.identifications),
        diversities=tables(ABILITY.diversities),
        fluencies=tables(ABILITY.fluencies),
    )
    return replace(inputs, ability=ability)


def _table(table: Table, rows: Sequence[Any]) -> pa.Table:
    return pa.Table.from_pylist([row._asdict() for row in rows], schema=table.columns)
