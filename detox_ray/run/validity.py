"""`detox-ray validity`: scores an experiment's labelled text, and nothing else; fits calibration maps on request."""

import csv
import io
from pathlib import Path
from typing import Literal, NamedTuple, cast

from detox_ray import data
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.config import ConfigError, Experiment, Problem
from detox_ray.data.calibration import Calibration
from detox_ray.measure import Validity, calibration
from detox_ray.measure.stage import validities
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.score import scorers_of
from detox_ray.storage import Store, UnitTables
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import LABELLED, LABELLED_SCORES

FILE = "validity.csv"


class Asked(NamedTuple):
    """A calibration to be fitted."""

    scorer: str
    method: str
    against: str | None  # another scorer; None: the labels
    out: Path


class Found(NamedTuple):
    rows: list[Validity]
    file: str  # where they are written
    calibration: Calibration | None
    calibration_file: Path | None


def run(experiment: Experiment, asked: Asked | None, progress: Progress, verbose: bool = False) -> Found:
    """Score what is not scored yet, and judge. Raises ConfigError, InputError, Locked and JobError."""
    _check(experiment, asked)
    checked = pipeline.check(experiment)
    store = Store.at(experiment.folder)
    with run_lock(store):
        context = prepare(experiment, store, progress, checked)
        stages = [stage for stage in context.stages if LABELLED_SCORES in stage.writes]
        pending = context.pending(stages)
        with pipeline.ray_if(bool(pending), verbose) as cluster:
            pipeline.make(context, "score", stages, pending, cluster, progress)
        rows = validities(context)
        store.write_bytes(FILE, _csv(rows).encode())
        fitted = None
        if asked is not None:
            fitted = _fit(context, asked)
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(fitted.to_json(), encoding="utf-8")
    return Found(rows, store.path(FILE), fitted, asked and asked.out)


def _check(experiment: Experiment, asked: Asked | None) -> None:
    problems = []
    if experiment.validity is None:
        rule = "is needed: the labelled text to score, as {source: rtp-lx, path: data/RTP-LX}"
        problems.append(Problem("validity", None, rule))
    known = f"must be one of the scorers ({', '.join(experiment.score.names)})"
    if asked is not None:
        for option, scorer in (("--calibrate", asked.scorer), ("--against", asked.against)):
            if scorer is not None and scorer not in experiment.score.names:
                problems.append(Problem(option, scorer, known))
        if asked.method not in ("isotonic", "platt"):
            problems.append(Problem("--method", asked.method, "must be isotonic or platt"))
        if asked.against == asked.scorer:
            problems.append(Problem("--against", asked.against, "must be another scorer than --calibrate"))
    if problems:
        raise ConfigError(problems)


def _fit(context: Context, asked: Asked) -> Calibration:
    config = context.experiment.validity
    assert config is not None
    labelled = UnitTables(context.store, context.units(LABELLED))
    scores = UnitTables(context.store, context.units(LABELLED_SCORES))
    samples = {}
    for language in context.experiment.languages:
        own = scores[asked.scorer, language]
        if asked.against is None:
            samples[language] = calibration.labels_sample(labelled[language], own)
        else:
            samples[language] = calibration.scores_sample(labelled[language], own, scores[asked.against, language])
    (scorer,) = (each for each in scorers_of(context) if each.name == asked.scorer)
    return calibration.fit(
        samples,
        scorer=scorer.name,
        identity=scorer.identity,
        reference=asked.against or data.reference(config),
        method=cast(Literal["isotonic", "platt"], asked.method),
        minimum=config.minimum,
        seed=context.experiment.seed,
    )


def _csv(rows: list[Validity]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(Validity._fields)
    writer.writerows(rows)
    return stream.getvalue()
