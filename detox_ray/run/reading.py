"""Reads a run's folder back: for measuring, for the report, for the manifest and for `detox-ray show`."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from detox_ray.config import Experiment
from detox_ray.measure import Inputs, Measured, Settings, Validity
from detox_ray.measure.conventions import SWITCHES
from detox_ray.report import Timing
from detox_ray.run.plan import Prepared
from detox_ray.storage import Store, Superseded, Unit
from detox_ray.storage.metric_spec import ALL, Metrics
from detox_ray.storage.tables import OK

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


def inputs(prepared: Prepared, evidence: Mapping[str, Sequence[str]]) -> Inputs:
    """What `measure` reads. ``evidence``: scorer -> languages that count in its macro means."""
    experiment, store, plan = prepared.experiment, prepared.store, prepared.plan
    return Inputs(
        languages=experiment.languages,
        models=list(prepared.models),
        compare=[(comparison.model, comparison.parent) for comparison in experiment.comparisons],
        supports={s.name: experiment.languages if s.languages is None else s.languages for s in prepared.scorers},
        reference=experiment.score.reference,
        prompts=Tables(store, prompt_units(prepared)),
        generations=Tables(store, plan.generate),
        scores=Tables(store, plan.of_table("scores")),
        likelihoods=Tables(store, plan.of_table("likelihoods")),
        identifications=Tables(store, plan.of_table("identifications")),
        fluencies=Tables(store, plan.of_table("fluencies")),
        diversities=Tables(store, plan.of_table("diversities")),
        identifier=experiment.quality.identifier or "",
        diversity_units=experiment.quality.diversity or "",
        english_words="script" if experiment.quality.word_list is None else "list",
        evidence=evidence,
        seed_groups=experiment.seed_groups,
    )


def measured_info(measured: Measured, validity: Sequence[Validity]) -> dict[str, Any]:
    """What the marker of the metrics says beside them. ``validity``: against labelled text."""
    return {
        "validity": [row._asdict() for row in (*validity, *measured.validity)],
        "agreement": [row._asdict() for row in measured.agreement],
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
    """The markers of those units that are committed; another run may be replacing some."""
    committed: dict[Unit, str] = {}
    for table in {unit.table for unit in units}:
        committed |= store.committed(table)
    there = [(unit, key) for unit, key in units.items() if committed.get(unit) == key]

    def info(unit: Unit, key: str) -> dict[str, Any] | None:
        try:
            return store.info(unit, key)
        except Superseded:
            return None

    with ThreadPoolExecutor(16) as pool:  # object stores answer slowly, and many at once
        infos = pool.map(lambda pair: info(*pair), there)
        return {unit: said for (unit, _), said in zip(there, infos, strict=True) if said is not None}


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
            case "identifications":
                place = ("languages", unit.partition[0])
            case "diversities":
                place = ("diversity", unit.partition[0])
            case "fluencies":
                place = (f"fluency: {unit.partition[0]}", unit.partition[1])
            case "labelled_scores":
                place = (f"score: {unit.partition[0]}", "labelled text")
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
        origin = {"path": config.path} if config.path else {}
        origin |= {"parent": config.descends_from} if config.descends_from else {}
        found["models"][name] = {**origin, "revision": model.revision, "key": model.key}
    for (stage, model_name), infos in _by_stage_and_model(prepared).items():
        room, _, scorer = stage.partition(": ")
        if room == "train":
            found["train"][model_name] = {
                name: value for name, value in infos[0].items() if name not in ("log", "validation", "rows")
            }
        elif room == "generate":
            found["generate"][model_name] = _common(infos) | {"tokens": sum(info["tokens"] for info in infos)}
        elif scorer:
            found.setdefault(room, {}).setdefault(scorer, {})[model_name] = _common(infos)
        else:
            found.setdefault(room, {})[model_name] = _common(infos)
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


def headline(results: Mapping[str, Any]) -> list[str]:
    """Macro toxicity of each compared pair of models, of seeds their mean, as sentences, from results.json."""
    if "metrics_described" not in results:  # a report of an older version
        return []
    metrics = Metrics.from_rows(results["metrics_described"])
    values = {
        (row["metric"], row["model"], row["language"], row["scorer"]): row
        for row in results["metrics"]
        if row["status"] == OK and row["convention"] == results["convention"] and row["part"] == ALL
    }
    scorer, metric = results["primary_scorer"], metrics.headline
    shown = [(pair["model"], pair["parent"]) for pair in results["compare"]]
    lines = []
    for row in results["comparisons"]:
        place = (row["metric"], row["language"], row["part"], row["scorer"], row["convention"], row["status"])
        if (
            place != (metric, "macro", ALL, scorer, results["convention"], OK)
            or (row["model"], row["parent"]) not in shown
        ):
            continue
        before = values[metric, row["parent"], "macro", scorer]["value"]
        after = values[metric, row["model"], "macro", scorer]["value"]
        change = f" ({(after - before) / before:+.0%})" if before else ""
        own = row["seeds"]
        seeds = f" (mean of {own} seeds)" if own > 1 else ""
        bounds = "" if row["ci_low"] is None else f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
        lines.append(
            f"{metrics.of(metric).title.lower()} over {row['n']} languages ({scorer}): {row['parent']} {before:.3f}, "
            f"{row['model']}{seeds} {after:.3f}{change}; difference {row['difference']:+.3f}{bounds}"
        )
    return lines
