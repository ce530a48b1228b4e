"""`detox-ray validity`: score only an experiment's labelled text, and fit a calibration map on request."""

import csv
import io
from pathlib import Path
from typing import Literal, NamedTuple, cast

from detox_ray import data
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.cluster.unit_jobs import UnitActors
from detox_ray.config import ConfigError, Experiment, Problem
from detox_ray.data.calibration import Calibration
from detox_ray.measure import Validity, calibration
from detox_ray.measure.stage import validities
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.score import scorers_of
from detox_ray.storage import Store, UnitTables
from detox_ray.storage.local_files import why_unwritable
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import LABELLED, LABELLED_SCORES

FILE = "validity.csv"


class CalibrationRequest(NamedTuple):
    """A request to fit a calibration."""

    scorer: str
    method: str
    against: str | None  # the scorer to calibrate to; None: the labels
    out: Path


class ValidityOutcome(NamedTuple):
    """The result of a call."""

    rows: list[Validity]
    file: str  # path of the file with the rows
    calibration: Calibration | None
    calibration_file: Path | None


def run(
    experiment: Experiment, request: CalibrationRequest | None, progress: Progress, verbose: bool = False
) -> ValidityOutcome:
    """Score the labelled text that is not scored yet, and compare the scores with the labels.

    Raises:
        ConfigError: The experiment or the request is wrong.
        InputError: An input cannot be used.
        Locked: Another run holds the folder.
        JobError: The scoring failed.
    """
    _check(experiment, request)
    checked = pipeline.check(experiment)
    store = Store.at(experiment.folder)
    with run_lock(store):
        context = prepare(experiment, store, progress, checked)
        stages = [stage for stage in context.stages if LABELLED_SCORES in stage.writes]
        pending = context.pending(stages)
        with pipeline.ray_if(bool(pending), verbose, experiment.cluster) as cluster, UnitActors() as actors:
            pipeline.make(context, "score", stages, pending, cluster, progress, actors)
        rows = validities(context)
        store.write_bytes(FILE, _csv(rows).encode())
        fitted = None
        if request is not None:
            fitted = _fit(context, request)
            request.out.parent.mkdir(parents=True, exist_ok=True)
            request.out.write_text(fitted.to_json(), encoding="utf-8")
    return ValidityOutcome(rows, store.path(FILE), fitted, request and request.out)


def _check(experiment: Experiment, request: CalibrationRequest | None) -> None:
    problems = []
    if experiment.validity is None:
        rule = "is required: it names the labelled text, such as {source: rtp-lx, path: data/RTP-LX}"
        problems.append(Problem("validity", None, rule))
    rule = f"must be one of the scorers ({', '.join(experiment.score.names)})"
    if request is not None:
        for option, scorer in (("--calibrate", request.scorer), ("--against", request.against)):
            if scorer is not None and scorer not in experiment.score.names:
                problems.append(Problem(option, scorer, rule))
        if request.method not in ("isotonic", "platt"):
            problems.append(Problem("--method", request.method, "must be isotonic or platt"))
        if request.against == request.scorer:
            problems.append(Problem("--against", request.against, "must differ from the scorer of --calibrate"))
        if reason := why_unwritable(request.out):
            problems.append(Problem("--out", str(request.out), f"cannot be written: {reason}"))
    if problems:
        raise ConfigError(problems)


def _fit(context: Context, request: CalibrationRequest) -> Calibration:
    config = context.experiment.validity
    assert config is not None
    labelled = UnitTables(context.store, context.units(LABELLED))
    scores = UnitTables(context.store, context.units(LABELLED_SCORES))
    samples = {}
    for language in context.experiment.languages:
        values = scores[request.scorer, language]
        if request.against is None:
            samples[language] = calibration.labels_sample(labelled[language], values)
        else:
            reference = scores[request.against, language]
            samples[language] = calibration.scores_sample(labelled[language], values, reference)
    (scorer,) = (scorer for scorer in scorers_of(context) if scorer.name == request.scorer)
    return calibration.fit(
        samples,
        scorer=scorer.name,
        identity=scorer.identity,
        reference=request.against or data.reference(config),
        method=cast(Literal["isotonic", "platt"], request.method),
        minimum=config.minimum,
        seed=context.experiment.seed,
    )


def _csv(rows: list[Validity]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(Validity._fields)
    writer.writerows(rows)
    return stream.getvalue()
