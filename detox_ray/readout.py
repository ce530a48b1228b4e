"""Reads a run's folder back: for measuring, for the report, for the manifest and for `detox-ray show`."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from detox_ray.config import TOY17, Experiment
from detox_ray.measure import Inputs, Measured, Settings, StatusCount, Validity
from detox_ray.plan import COMPARISONS, METRICS, Prepared
from detox_ray.report import Completion, ReportContent, Sample, Timing
from detox_ray.store import Store, Unit
from detox_ray.tables import OK

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


def _infos(store: Store, units: Mapping[Unit, str]) -> dict[Unit, dict[str, Any]]:
    """The markers of those units that are committed."""
    committed: dict[Unit, str] = {}
    for table in {unit.table for unit in units}:
        committed |= store.committed(table)
    there = [(unit, key) for unit, key in units.items() if committed.get(unit) == key]
    with ThreadPoolExecutor(16) as pool:  # object stores answer slowly, and many at once
        return dict(zip((unit for unit, _ in there), pool.map(lambda pair: store.info(*pair), there), strict=True))


def timings(prepared: Prepared) -> list[Timing]:
    """What the committed units took, by stage and model: the workers' own seconds, from the markers."""
    rows = []
    for (stage, model), infos in _by_stage_and_model(prepared).items():
        seconds = sum(info.get("seconds", 0.0) for info in infos)
        made = sum(info["rows"] for info in infos)
        rows.append(Timing(stage, model, round(seconds, 2), len(infos), made, _rate(stage, infos, seconds)))
    return rows


def _by_stage_and_model(prepared: Prepared) -> dict[tuple[str, str], list[dict[str, Any]]]:
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    units = prepared.plan.train | prepared.plan.generate | prepared.plan.score
    for unit, info in _infos(prepared.store, units).items():
        match unit.table:
            case "checkpoints":
                place = ("train", unit.partition[0])
            case "generations":
                place = ("generate", unit.partition[0])
            case "likelihoods":
                place = ("perplexity", unit.partition[0])
            case _:
                scorer, model, _ = unit.partition
                place = (f"score: {scorer}", model)
        grouped.setdefault(place, []).append(info)
    return grouped


def _rate(stage: str, infos: list[dict[str, Any]], seconds: float) -> str:
    """Throughput in the stage's own words."""
    if not seconds:
        return ""
    if stage == "train":
        info = infos[0]
        return f"{info['steps'] / seconds:.2f} steps/s, start-up and export included"
    if stage == "generate":
        return f"{sum(info['tokens'] for info in infos) / seconds:,.0f} tokens/s"
    return f"{sum(info['rows'] for info in infos) / seconds:,.0f} texts/s"


def what_ran(prepared: Prepared) -> dict[str, Any]:
    """The part of the manifest that the committed units tell: engines, scorers, how models were trained."""
    found: dict[str, Any] = {"models": {}, "train": {}, "generate": {}, "score": {}}
    for name, model in prepared.models.items():
        config = prepared.experiment.models[name]
        origin = {"path": config.path} if config.train is None else {"parent": config.train.parent}
        found["models"][name] = {**origin, "revision": model.revision, "key": model.key}
    for (stage, model_name), infos in _by_stage_and_model(prepared).items():
        room, _, scorer = stage.partition(": ")
        if room == "train":
            found["train"][model_name] = {
                name: value for name, value in infos[0].items() if name not in ("log", "rows")
            }
        elif room == "generate":
            found["generate"][model_name] = _common(infos) | {"tokens": sum(info["tokens"] for info in infos)}
        elif room == "score":
            found["score"].setdefault(scorer, {})[model_name] = _common(infos)
        else:
            found.setdefault("perplexity", {})[model_name] = _common(infos)
    return found


def _common(infos: list[dict[str, Any]]) -> dict[str, Any]:
    """What all units say alike (engine, version, device, revision), and how many they are."""
    alike = {
        name: value
        for name, value in infos[0].items()
        if isinstance(value, str) and all(info.get(name) == value for info in infos)
    }
    seconds = round(sum(info.get("seconds", 0.0) for info in infos), 2)
    return {**alike, "units": len(infos), "rows": sum(info["rows"] for info in infos), "seconds": seconds}


def content(prepared: Prepared) -> ReportContent:
    """What the report shows. Needs every stage before it to be committed."""
    experiment, store, plan = prepared.experiment, prepared.store, prepared.plan
    measured = store.info(METRICS, plan.measure[METRICS])
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
        primary=experiment.score.headline,
        convention=experiment.measure.convention,
        confidence=experiment.measure.confidence,
        validity=[Validity(**row) for row in measured["validity"]],
        counts=[StatusCount(**row) for row in measured["counts"]],
        samples=samples(prepared),
        timings=timings(prepared),
        manifest=store.read_json("manifest.json"),
        corpus_share=world and world["token_share"],
        skipped_rows={place: len(reasons) for place, reasons in prepared.skipped.items()},
        tuning_languages=[experiment.data.pairs.language] if experiment.data.pairs else [],
        toy_world=experiment.uses_toy17,
        notes=prepared.notes,
    )


def samples(prepared: Prepared) -> list[Sample]:
    """The first prompts of each language with the first completion of each model, and its score."""
    experiment = prepared.experiment
    wanted, primary = min(experiment.report.samples, experiment.generate.prompts_per_unit), experiment.score.headline
    plan, store = prepared.plan, prepared.store
    prompts_of, generations, scores = (
        Tables(store, {unit: key for unit, key in units.items() if unit.shard == 0})
        for units in (prompt_units(prepared), plan.generate, plan.of_table("scores"))
    )
    found = []
    for language in experiment.languages if wanted else ():
        prompts = prompts_of[language].slice(0, wanted).to_pylist()
        first: dict[str, dict[str, Completion]] = {prompt["prompt_id"]: {} for prompt in prompts}
        for model in prepared.models:
            scored = {
                row["prompt_id"]: row
                for row in scores[primary, model, language].to_pylist()
                if row["sample"] == 0 and row["attribute"] == "toxicity"
            }
            for row in generations[model, language].to_pylist():
                if row["sample"] == 0 and row["prompt_id"] in first:
                    score = scored[row["prompt_id"]]
                    first[row["prompt_id"]][model] = Completion(model, row["text"], score["value"], score["status"])
        for prompt in prompts:
            found.append(Sample(language, prompt["text"], list(first[prompt["prompt_id"]].values())))
    return found


def headline(results: Mapping[str, Any]) -> list[str]:
    """Macro toxicity of each compared pair of models, as sentences, from results.json."""
    values = {
        (row["metric"], row["model"], row["language"], row["scorer"]): row
        for row in results["metrics"]
        if row["status"] == OK
    }
    scorer, metric = results["primary_scorer"], "average_toxicity"
    lines = []
    for row in results["comparisons"]:
        if (row["metric"], row["language"], row["scorer"]) != (metric, "macro", scorer) or row["status"] != OK:
            continue
        before = values[metric, row["parent"], "macro", scorer]["value"]
        after = values[metric, row["model"], "macro", scorer]["value"]
        change = f" ({(after - before) / before:+.0%})" if before else ""
        lines.append(
            f"average toxicity over {row['n']} languages ({scorer}): {row['parent']} {before:.3f}, {row['model']} "
            f"{after:.3f}{change}; difference {row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
        )
    return lines
