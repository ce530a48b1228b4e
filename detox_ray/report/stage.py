"""The report stage: turns a run's committed tables and markers into its page, figures and results.json."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from detox_ray.cluster import Cluster
from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.timings import timings
from detox_ray.config import TOY17, Experiment
from detox_ray.gate import judge_all
from detox_ray.measure import ScorerAgreement, StatusCount, Validity
from detox_ray.measure.stage import metrics_of, settings_of
from detox_ray.report import (
    VERSION,
    PerplexityEvaluator,
    ReportContent,
    TrainingLog,
    render,
)
from detox_ray.report.results import document
from detox_ray.score import scorers_of
from detox_ray.storage import Table, Unit, UnitTables
from detox_ray.storage.markers import CheckpointMarker, FluencyMarker
from detox_ray.storage.metric_spec import Metrics
from detox_ray.storage.tables import (
    AGREEMENTS,
    CHECKPOINTS,
    COMPARISONS,
    FLUENCIES,
    GENERATIONS,
    METRICS,
    OK,
    PROMPTS,
    REPORTS,
    SCORES,
    STATUS_COUNTS,
    VALIDITY,
)

DRAWING_PROCESSES = 4  # at most; each must import Matplotlib
PAGE = REPORTS.unit(name="page")


class ReportStage(Stage):
    """The stage that writes the report. It runs on the driver."""

    name = command = title = "report"
    version = VERSION
    summary = "the report: report/index.html and report/results.json"
    needs = (METRICS, COMPARISONS, VALIDITY, AGREEMENTS, STATUS_COUNTS)
    writes = (REPORTS,)
    on_ray = False

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        settings = {
            "experiment": context.experiment.to_yaml(),
            "skipped": context.skipped,
            "notes": context.notes,
        }
        return {PAGE: Planned(tuple(context.units(*self.needs)), settings)}

    def run(self, context: Context, pending: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
        files = render(content(context), processes=min(DRAWING_PROCESSES, os.cpu_count() or 1))
        for path, written in files.items():
            context.store.write_bytes(f"report/{path}", written)
        context.store.commit(PAGE, context.keys[PAGE], None, {"files": sorted(files)})


def content(context: Context) -> ReportContent:
    """Return the content of the report. Every earlier stage must be committed."""
    experiment, store, scorers = context.experiment, context.store, scorers_of(context)
    convention = settings_of(experiment).choose()
    sections = [section for stage in context.stages if (section := stage.section(context)) is not None]

    def rows(table: Table) -> pa.Table:
        return store.read(table.unit(), context.keys[table.unit()])

    world = None
    if experiment.uses_toy17:
        world = json.loads((store.localize(TOY17) / "world.json").read_text(encoding="utf-8"))
    page_content = ReportContent(
        experiment=experiment.name,
        experiment_yaml=experiment.to_yaml(),
        languages=experiment.languages,
        models=list(experiment.models),
        compare=[(comparison.model, comparison.parent) for comparison in experiment.comparisons],
        metrics=rows(METRICS),
        comparisons=rows(COMPARISONS),
        described=Metrics(metrics_of(context)),
        primary=experiment.score.headline,
        convention=convention.name,
        confidence=experiment.measure.confidence,
        switches={name: value for name, value in asdict(convention).items() if name != "name"},
        interval=experiment.measure.interval,
        correction=experiment.measure.correction,
        settings=_settings_that_count(experiment),
        revisions={scorer.name: scorer.revision for scorer in scorers},
        identities={scorer.name: scorer.identity for scorer in scorers},
        validity=[Validity(**row) for row in rows(VALIDITY).to_pylist()],
        agreement=[ScorerAgreement(**row) for row in rows(AGREEMENTS).to_pylist()],
        counts=[StatusCount(**row) for row in rows(STATUS_COUNTS).to_pylist()],
        evaluators=_evaluators(context),
        diversity_units=experiment.quality.diversity,
        identifier=experiment.quality.identifier,
        samples=[*samples(context), *(text for section in sections for text in section.explored)],
        timings=timings(context),
        training=trainings(context),
        manifest=store.read_json("manifest.json"),
        corpus_share=world and world["token_share"],
        skipped_rows={place: len(reasons) for place, reasons in context.skipped.items()},
        tuning_languages=[experiment.data.pairs.language] if experiment.data.pairs else [],
        toy_world=experiment.uses_toy17,
        notes=context.notes,
        sections=sections,
        seed_groups=experiment.seed_groups,
        sweeps=experiment.sweeps,
    )
    rules = experiment.release_rules
    return page_content if rules is None else replace(page_content, verdicts=judge_all(document(page_content), rules))


def trainings(context: Context) -> list[TrainingLog]:
    """Return the logs of the trained models, in the models' order."""
    logs = []
    for name, model in context.experiment.models.items():
        if model.train is not None:
            unit = CHECKPOINTS.unit(model=name)
            marker = context.store.marker(unit, context.keys[unit], CheckpointMarker)
            log = TrainingLog(
                name,
                marker.method,
                marker.steps,
                marker.planned_steps,
                marker.stopped,
                marker.best_step,
                marker.kept_step,
                marker.log,
                marker.validation,
                marker.kl_to_parent.get("reason"),
            )
            logs.append(log)
    return logs


def _evaluators(context: Context) -> list[PerplexityEvaluator]:
    """Return the models that measured the perplexity of completions."""
    one_of = {unit["evaluator"]: (unit, key) for unit, key in context.units(FLUENCIES).items()}
    evaluators = []
    for config in context.experiment.quality.fluency:
        if config.name in one_of:
            kind = context.store.marker(*one_of[config.name], FluencyMarker).kind
            evaluators.append(PerplexityEvaluator(config.name, config.model or config.path or "", kind))
    return evaluators


def _settings_that_count(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that must be equal for the toxicity of two runs to be compared."""
    data, generate, measure = experiment.data, experiment.generate, experiment.measure
    return {
        "prompts": data.prompts and {"source": data.prompts.source, "per_language": data.prompts.per_language},
        "generate": {name: getattr(generate, name) for name in ("samples", "temperature", "top_p", "max_tokens")},
        "measure": {name: getattr(measure, name) for name in ("threshold", "macro")},
    }


def samples(context: Context) -> list[ExplorerPrompt]:
    """Return the first prompts of each language, with the first completions of each model and their scores."""
    experiment = context.experiment
    wanted, primary = min(experiment.report.prompts, experiment.generate.prompts_per_unit), experiment.score.headline
    most = min(experiment.report.completions, experiment.generate.samples)
    prompts_of, generations, scores = (
        UnitTables(context.store, {unit: key for unit, key in context.units(table).items() if unit.shard == 0})
        for table in (PROMPTS, GENERATIONS, SCORES)
    )
    explored = []
    for language in experiment.languages if wanted and experiment.data.prompts else ():
        prompts = prompts_of[language].slice(0, wanted).to_pylist()
        shown: dict[str, list[ExplorerCompletion]] = {prompt["prompt_id"]: [] for prompt in prompts}
        for model in experiment.models:
            toxicity = pc.field("attribute") == "toxicity"
            early = pc.field("sample") < most
            scored = {
                (row["prompt_id"], row["sample"]): (row["value"] if row["status"] == OK else None, row["status"])
                for row in scores[primary, model, language].filter(toxicity & early).to_pylist()
            }
            for row in generations[model, language].filter(early).to_pylist():
                place = (row["prompt_id"], row["sample"])
                if row["prompt_id"] in shown:
                    completion = ExplorerCompletion(model, row["sample"], row["text"], *scored[place])
                    shown[row["prompt_id"]].append(completion)
        explored += [ExplorerPrompt(language, p["prompt_id"], p["text"], shown[p["prompt_id"]]) for p in prompts]
    return explored
