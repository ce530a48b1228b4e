"""From a run's committed tables and markers to what its report shows."""

import json
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc

from detox_ray.config import TOY17, Experiment
from detox_ray.measure import ScorerAgreement, StatusCount, Validity, specs
from detox_ray.report import ExplorerCompletion, ExplorerPrompt, PerplexityEvaluator, ReportContent, TrainingLog
from detox_ray.run.plan import COMPARISONS, METRICS, Prepared
from detox_ray.run.reading import Tables, prompt_units, settings, timings
from detox_ray.storage import Unit
from detox_ray.storage.metric_spec import Metrics
from detox_ray.storage.tables import OK


def content(prepared: Prepared) -> ReportContent:
    """What the report shows. Needs every stage before it to be committed."""
    experiment, store, plan = prepared.experiment, prepared.store, prepared.plan
    measured = store.info(METRICS, plan.measure[METRICS])
    convention = settings(experiment).choose()
    world = None
    if experiment.uses_toy17:
        world = json.loads((store.localize(TOY17) / "world.json").read_text(encoding="utf-8"))
    return ReportContent(
        experiment=experiment.name,
        experiment_yaml=experiment.to_yaml(),
        languages=experiment.languages,
        models=list(prepared.models),
        compare=[(comparison.model, comparison.parent) for comparison in experiment.comparisons],
        metrics=store.read(METRICS, plan.measure[METRICS]),
        comparisons=store.read(COMPARISONS, plan.measure[COMPARISONS]),
        described=Metrics(specs()),
        primary=experiment.score.headline,
        convention=convention.name,
        confidence=experiment.measure.confidence,
        switches={name: value for name, value in asdict(convention).items() if name != "name"},
        interval=experiment.measure.interval,
        correction=experiment.measure.correction,
        settings=_settings_that_count(experiment),
        revisions={scorer.name: scorer.revision for scorer in prepared.scorers},
        identities={scorer.name: scorer.identity for scorer in prepared.scorers},
        validity=[Validity(**row) for row in measured["validity"]],
        agreement=[ScorerAgreement(**row) for row in measured["agreement"]],
        counts=[StatusCount(**row) for row in measured["counts"]],
        evaluators=_evaluators(prepared),
        diversity_units=experiment.quality.diversity,
        identifier=experiment.quality.identifier,
        samples=samples(prepared),
        timings=timings(prepared),
        training=trainings(prepared),
        manifest=store.read_json("manifest.json"),
        corpus_share=world and world["token_share"],
        skipped_rows={place: len(reasons) for place, reasons in prepared.skipped.items()},
        tuning_languages=[experiment.data.pairs.language] if experiment.data.pairs else [],
        toy_world=experiment.uses_toy17,
        notes=prepared.notes,
        seed_groups=experiment.seed_groups,
        sweeps=experiment.sweeps,
    )


def trainings(prepared: Prepared) -> list[TrainingLog]:
    """How the trained models learned, in the models' order."""
    found = []
    for name in prepared.models:
        unit = Unit("checkpoints", (name,))
        if unit in prepared.plan.train:
            info = prepared.store.info(unit, prepared.plan.train[unit])
            told = ("method", "steps", "planned_steps", "stopped", "best_step", "kept_step", "log", "validation")
            no_kl = info["kl_to_parent"].get("reason")
            found.append(TrainingLog(name, **{key: info[key] for key in told}, no_kl=no_kl))
    return found


def _evaluators(prepared: Prepared) -> list[PerplexityEvaluator]:
    """Who measured the perplexity of completions, and as what."""
    units = prepared.plan.of_table("fluencies")
    kinds = {unit.partition[0]: prepared.store.info(unit, key)["kind"] for unit, key in sorted(units.items())}
    named = {each.name: each.model or each.path or "" for each in prepared.experiment.quality.fluency}
    return [PerplexityEvaluator(name, named[name], kind) for name, kind in kinds.items()]


def _settings_that_count(experiment: Experiment) -> dict[str, Any]:
    """What must be equal for the toxicity of two runs to be compared."""
    data, generate, measure = experiment.data, experiment.generate, experiment.measure
    return {
        "prompts": {"source": data.prompts.source, "per_language": data.prompts.per_language},
        "generate": {name: getattr(generate, name) for name in ("samples", "temperature", "top_p", "max_tokens")},
        "measure": {name: getattr(measure, name) for name in ("threshold", "macro")},
    }


def samples(prepared: Prepared) -> list[ExplorerPrompt]:
    """The first prompts of each language with the first completions of each model, and their scores."""
    experiment = prepared.experiment
    wanted, primary = min(experiment.report.prompts, experiment.generate.prompts_per_unit), experiment.score.headline
    most = min(experiment.report.completions, experiment.generate.samples)
    plan, store = prepared.plan, prepared.store
    prompts_of, generations, scores = (
        Tables(store, {unit: key for unit, key in units.items() if unit.shard == 0})
        for units in (prompt_units(prepared), plan.generate, plan.of_table("scores"))
    )
    found = []
    for language in experiment.languages if wanted else ():
        prompts = prompts_of[language].slice(0, wanted).to_pylist()
        shown: dict[str, list[ExplorerCompletion]] = {prompt["prompt_id"]: [] for prompt in prompts}
        for model in prepared.models:
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
        found += [ExplorerPrompt(language, p["prompt_id"], p["text"], shown[p["prompt_id"]]) for p in prompts]
    return found
