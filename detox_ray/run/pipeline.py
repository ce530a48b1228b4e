"""The stages in order; what is committed is skipped.

    prepare   prompts, pairs, texts, the built-in world; the plan (plan.py)   driver, no Ray
    train     checkpoints                                                     Ray Train
    generate  generations                                                     Ray Data
    score     scores, of completions and of human-labelled text; likelihoods,
              fluency, diversity and language of completions                  Ray Data
    measure   metrics, comparisons                                            driver
    report    report/index.html, results.json                                 driver

Everything that can be seen to be wrong is said, all at once, before anything expensive starts.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

from detox_ray import data, generate, models, report, score, train
from detox_ray.cluster import Cluster, connect
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, run_jobs
from detox_ray.config import ConfigError, Experiment, InputError, Problem
from detox_ray.measure import measure, specs
from detox_ray.models import limits
from detox_ray.run import evidence, manifest, reading, report_content
from detox_ray.run.plan import COMPARISONS, METRICS, REPORT, STAGES, Prepared, learns_from, prepare
from detox_ray.storage import Store, Unit
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import FAILED

ON_RAY = ("train", "generate", "score")


class StageDone(NamedTuple):
    """What one stage did in one call."""

    stage: str
    made: int  # units committed by this call
    kept: int  # units that were committed before
    seconds: float


class Outcome(NamedTuple):
    """What a call did, for the closing table."""

    prepared: Prepared
    stages: list[StageDone]
    seconds: float
    peak_memory_gib: float | None  # of this process and its descendants


def check(experiment: Experiment, say: Callable[[str], None] = lambda note: None) -> None:
    """Everything that can be seen to be wrong without loading a model. Raises ConfigError with all of it.

    ``say`` gets the notes on how the data was read.
    """
    problems = data.check(experiment.data, experiment.languages, experiment.validity, say)
    for name, model in experiment.models.items():
        if model.path is not None:
            problems += models.check(f"models.{name}.path", model.path, model.parent)
        if model.train is not None:
            problems += train.check(f"models.{name}.train", model.train)
    problems += generate.check(experiment.generate)
    problems += limits.problems(experiment, limits.read(experiment))
    problems += score.check(experiment.score, say)
    problems += score.check_quality(experiment.quality)
    if reason := Store.at(experiment.folder).check_writable():
        problems.append(Problem("storage", experiment.storage, f"cannot be written: {reason}"))
    if problems:
        raise ConfigError(problems)


def run(
    experiment: Experiment,
    stages: Sequence[str],
    progress: Progress,
    verbose: bool = False,
    retry_failed: bool = False,
) -> Outcome:
    """Carry the experiment through ``stages``; ``retry_failed``: also units that hold failed scores.

    Raises ConfigError or ValueError for wrong input, Locked for a folder in use, LockLost for one that another run took
    over, and what a stage raises; what was committed until then stays.
    """
    started = time.monotonic()
    check(experiment)
    store = Store.at(experiment.folder)
    done: list[StageDone] = []
    with run_lock(store), manifest.peak_memory() as memory:
        store.tidy()
        prepared = prepare(experiment, store, progress)
        _need_earlier(prepared, stages)
        if retry_failed:
            _forget_failures(prepared, progress)
        store.write_bytes("experiment.yaml", experiment.to_yaml().encode())
        reading.write_plan(prepared)
        with ray_if(any(prepared.pending(stage) for stage in stages if stage in ON_RAY), verbose) as cluster:
            for stage in stages:
                begun = time.monotonic()
                todo = prepared.pending(stage)
                if todo:
                    _STAGES[stage](prepared, todo, cluster, progress)
                seconds = time.monotonic() - begun
                kept = len(prepared.plan.of_stage(stage)) - len(todo)
                done.append(StageDone(stage, len(todo), kept, seconds))
                if todo:
                    _record(prepared, stage, seconds, cluster)
        return Outcome(prepared, done, time.monotonic() - started, memory.gib)


def _need_earlier(prepared: Prepared, stages: Sequence[str]) -> None:
    """A stage on its own needs what those before it commit."""
    first = STAGES.index(stages[0])
    if not prepared.pending(stages[0]):
        return
    for earlier in STAGES[:first]:
        if missing := prepared.pending(earlier):
            rule = f"the stage before it has units left to do: run `detox-ray {earlier} CONFIG` first"
            raise ConfigError([Problem(stages[0], f"{len(missing)} units of {earlier}", rule)])


def _forget_failures(prepared: Prepared, progress: Progress) -> None:
    """Take back what the score stage committed with failed rows, and what was made of it; the score cache keeps the
    others' values."""
    store, plan = prepared.store, prepared.plan
    todo = prepared.pending("score")
    done = {unit: key for unit, key in plan.score.items() if unit not in todo}
    failed = [unit for unit, key in done.items() if store.info(unit, key).get("status_counts", {}).get(FAILED)]
    for unit in (*failed, *((*plan.measure, *plan.report) if failed else ())):
        store.retract(unit)
    progress.say(f"{len(failed)} units with failed scores are made again")


@contextmanager
def ray_if(needed: bool, verbose: bool) -> Iterator[Cluster | None]:
    """The cluster, if the work needs one. Input that turns out to be wrong during the work is marked as found late."""
    with connect(verbose=verbose) if needed else nullcontext() as cluster:
        try:
            yield cluster
        except InputError as error:
            error.found_late = True
            raise


def _train(prepared: Prepared, todo: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
    experiment = prepared.experiment
    assert cluster is not None
    for name in experiment.descent_order():
        unit, model = Unit("checkpoints", (name,)), experiment.models[name]
        if unit not in todo:
            continue
        assert model.descends_from is not None
        parent = prepared.models[model.descends_from]
        if model.train is None:
            train.import_checkpoint(prepared.imported[name], parent, todo[unit], prepared.store, progress)
            continue
        train.train(
            name=name,
            config=model.train,
            parent=parent,
            rows=(learns_from(model.train), prepared.training[learns_from(model.train)]),
            seed=experiment.seed,
            key=todo[unit],
            store=prepared.store,
            cluster=cluster,
            progress=progress,
        )


def _generate(prepared: Prepared, todo: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
    assert cluster is not None
    config, store = prepared.experiment.generate, prepared.store
    prompts, seed = prepared.prompt_keys, prepared.experiment.seed
    jobs = [
        generate.job(model, _of(todo, "generations", model.name), prompts, config, seed, store)
        for model in prepared.models.values()
    ]
    run_jobs("generate", jobs, actors=config.actors, store=store, cluster=cluster, progress=progress)


def score_units(prepared: Prepared, todo: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
    assert cluster is not None
    config, quality, store = prepared.experiment.score, prepared.experiment.quality, prepared.store
    generations, prompts = prepared.plan.generate, prepared.prompt_keys
    at_once: list[Job] = []
    derived: list[Job] = []
    for scorer in prepared.scorers:
        job = score.job(scorer, todo, generations, prepared.labelled, config, store)
        (derived if scorer.members else at_once).append(job)
    if languages := _of(todo, "identifications"):
        at_once.append(score.identification_job(languages, generations, quality, store))
    if diversities := _of(todo, "diversities"):
        at_once.append(score.diversity_job(prepared.diversity_units, diversities, generations, prompts, store))
    for evaluator in prepared.evaluators:
        mine = _of(todo, "fluencies", evaluator.name)
        at_once.append(score.fluency_job(evaluator, mine, generations, prompts, config, store))
    for model in prepared.models.values():
        mine = _of(todo, "likelihoods", model.name)
        at_once.append(score.likelihood_job(model, mine, prepared.texts, config, store))
    for jobs in (at_once, *([job] for job in derived)):  # a derived scorer reads what those before it committed
        run_jobs("score", jobs, actors=config.actors, store=store, cluster=cluster, progress=progress)


def _of(units: Mapping[Unit, str], table: str, first: str | None = None) -> dict[Unit, str]:
    return {u: key for u, key in units.items() if u.table == table and first in (None, u.partition[0])}


def _measure(prepared: Prepared, todo: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
    store, plan = prepared.store, prepared.plan.measure
    progress.say("measuring: metrics and comparisons with intervals")
    validity = evidence.validities(prepared)
    counting = evidence.evidence(prepared, validity)
    measured = measure(reading.inputs(prepared, counting), reading.settings(prepared.experiment), specs())
    info = reading.measured_info(measured, validity)
    store.commit(COMPARISONS, plan[COMPARISONS], measured.comparisons)
    store.commit(METRICS, plan[METRICS], measured.metrics, info)


def _report(prepared: Prepared, todo: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
    store, key = prepared.store, prepared.plan.report[REPORT]
    files = report.render(report_content.content(prepared))
    for path, content in files.items():
        store.write_bytes(f"report/{path}", content)
    store.commit(REPORT, key, None, {"files": sorted(files)})


_STAGES = {"train": _train, "generate": _generate, "score": score_units, "measure": _measure, "report": _report}


def _record(prepared: Prepared, stage: str, seconds: float, cluster: Cluster | None) -> None:
    """Bring manifest.json up to date after a stage: what ran, on what, how long (over all calls of this run)."""
    store = prepared.store
    old: dict[str, Any] = store.read_json("manifest.json") if store.exists("manifest.json") else {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    spent = dict(old.get("stage_seconds", {}))
    spent[stage] = round(spent.get(stage, 0.0) + seconds, 2)
    store.write_json(
        "manifest.json",
        {
            "experiment": prepared.experiment.name,
            "started": old.get("started", now),
            "updated": now,
            "code_revision": manifest.code_revision(),
            "versions": manifest.versions(),
            "hardware": manifest.hardware(),
            "cluster": cluster._asdict() if cluster else old.get("cluster"),
            "stage_seconds": spent,
            **reading.what_ran(prepared),
        },
    )
