"""Validity of a scorer in a language, measured against people's labels, the truth, or another scorer.

    AUROC              probability that a toxic text has a higher value than a harmless one; ties count half; 0.5 is
                       guessing
    average precision  mean precision over the toxic texts in descending order of value; ties count together, as in
                       scikit-learn
    best F1            the highest F1 of any threshold, and that threshold (value >= threshold is toxic); because it is
                       chosen on these very texts, it will be somewhat lower on others
    calibration error  for values as probabilities: the mean gap between value and share of toxic texts, over ten bins
                       of equal width, weighted by their numbers of texts (ECE; Naeini et al. 2015); it is positive by
                       chance alone
    Spearman           rank correlation of value and grade

Intervals come from one bootstrap of whole clusters (a record's prompt with its completion; a prompt with all its
completions). They are percentile intervals, except for best F1 and calibration error. These are a maximum and a sum of
absolute gaps, so resampling alone increases them. Their intervals are pivotal, which removes this effect, and that of
calibration error reaches down to 0 if chance could explain all of it. In 500 simulated sets of 200 or 700 texts, the
95 % interval of calibration error contained the true value in 89 to 94 % (percentile: 0 % for a perfectly calibrated
scorer). If a scorer separates the texts perfectly, so does every resample, and the interval has no width, so read it
together with n.

Values are exact. For intervals, they are ranked into at most 512 bins, which moves a bound by about 0.001 or less and
turns 2,000 resamples into matrix products.

Shapes: N texts, P clusters, R resamples, B bins.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.measure.resampling import Floats, Resampling, weights
from detox_ray.measure.spearman import NOTHING, Bounded, Counts, Whole, binned, bounds, histogram, numbered, spearman
from detox_ray.storage.tables import FAILED, OK, UNSUPPORTED

TOXIC_FROM = 0.5  # value of a reference scorer from which a text is toxic
CALIBRATION_BINS = 10
ATTRIBUTE = "toxicity"

ONE_CLASS = "one_class"  # all texts are labelled toxic, or none is
TOO_FEW = "too_few"  # fewer toxic texts, or fewer harmless ones, than required
NO_LABELS = "no_labels"
NO_COMMON_SCORES = "no_common_scores"  # there are labels, but no labelled text has a value
MISSING = "missing"


class Validity(NamedTuple):
    """The validity of one scorer in one language. Bounds are None if there is only one cluster."""

    scorer: str
    reference: str  # "human: rtp-lx", "truth: toy17", "human: mine.csv", or a scorer's name
    language: str
    n: int  # number of texts that have a value and a label
    n_toxic: int  # number of toxic texts among them
    auroc: float | None
    ci_low: float | None
    ci_high: float | None
    average_precision: float | None
    average_precision_low: float | None
    average_precision_high: float | None
    best_f1: float | None
    best_f1_low: float | None
    best_f1_high: float | None
    best_f1_threshold: float | None
    calibration_error: float | None
    calibration_error_low: float | None
    calibration_error_high: float | None
    spearman: float | None  # also None if there are no grades, or if all grades or all values are the same
    spearman_low: float | None
    spearman_high: float | None
    status: str  # "ok", or why there are no numbers


def has_evidence(row: Validity) -> bool:
    """Return whether the language counts in the scorer's macro mean: even the lower bound of AUROC is above guessing.

    This is a low bar on purpose. It excludes languages in which there is no evidence that the scorer can tell toxic
    from harmless text, but not those in which it does so badly. The table shows how well it does.
    """
    return row.status == OK and row.ci_low is not None and row.ci_low > 0.5


def no_validity(scorer: str, reference: str, language: str, status: str, n: int = 0, n_toxic: int = 0) -> Validity:
    """Return the row of a scorer that could not be validated, with the reason as its status."""
    assert status != OK
    nothing = (*NOTHING, *NOTHING, *NOTHING, None, *NOTHING, *NOTHING)
    return Validity(scorer, reference, language, n, n_toxic, *nothing, status)


def validity(
    values: Floats,
    toxic: NDArray[np.bool_],
    grades: Floats | None,
    clusters: NDArray[Any],
    language: str,
    resampling: Resampling,
    *,
    scorer: str,
    reference: str,
    minimum: int,
) -> Validity:
    """Validate a scorer on N texts.

    Args:
        values: The scorer's values (N,), in [0, 1].
        toxic: The labels (N,).
        grades: Grades (N,); None: there are none.
        clusters: Names (N,) of clusters.
        language: Code of the language.
        resampling: The settings of the bootstrap.
        scorer: Name of the scorer.
        reference: Who or what judged the texts.
        minimum: Fewest toxic texts, and fewest harmless ones, that are needed for a value.
    """
    n, n_toxic = len(values), int(toxic.sum())
    status = OK
    if n == 0:
        status = NO_COMMON_SCORES
    elif n_toxic in (0, n):
        status = ONE_CLASS
    elif min(n_toxic, n - n_toxic) < minimum:
        status = TOO_FEW
    if status != OK:
        return no_validity(scorer, reference, language, status, n, n_toxic)
    cluster = numbered(clusters)
    ranking, best_f1_threshold = _ranking(values, toxic, cluster, language, resampling)
    auroc, precision, f1 = ranking
    error = calibration_error(values, toxic.astype(float), cluster, language, resampling)
    ranks = NOTHING if grades is None else spearman(values, grades, cluster, language, resampling)
    numbers = (*auroc, *precision, *f1, best_f1_threshold, *error, *ranks)
    return Validity(scorer, reference, language, n, n_toxic, *numbers, OK)


def labelled_validity(
    labelled: pa.Table,
    scores: pa.Table | None,
    language: str,
    resampling: Resampling,
    *,
    scorer: str,
    reference: str,
    minimum: int,
) -> tuple[Validity, dict[str, int]]:
    """Validate a scorer on LABELLED by its LABELLED_SCORES (None: it has none), joined on text_id.

    Returns:
        The validity, from texts with the status "ok"; and status -> number of texts, over all labelled texts.
    """
    if labelled.num_rows == 0:
        return no_validity(scorer, reference, language, NO_LABELS), {}
    values, counts = toxicity_of(labelled, scores)
    kept = ~np.isnan(values)
    if not kept.any():
        only = next(iter(counts)) if len(counts) == 1 else NO_COMMON_SCORES
        status = only if only in (UNSUPPORTED, FAILED, MISSING) else NO_COMMON_SCORES
        return no_validity(scorer, reference, language, status), counts
    toxic, grades, clusters = (labelled[name].to_numpy() for name in ("toxic", "grade", "cluster"))
    row = validity(
        values[kept],
        toxic[kept],
        grades[kept],
        clusters[kept],
        language,
        resampling,
        scorer=scorer,
        reference=reference,
        minimum=minimum,
    )
    return row, counts


def toxicity_of(labelled: pa.Table, scores: pa.Table | None) -> tuple[Floats, dict[str, int]]:
    """Return the toxicity (N,) of each row of LABELLED, NaN if it has none; and status -> number of texts."""
    rows = [] if scores is None else scores.select(["text_id", "attribute", "value", "status"]).to_pylist()
    found = {row["text_id"]: row for row in rows if row["attribute"] == ATTRIBUTE}
    values = np.full(labelled.num_rows, np.nan)
    counts: Counter[str] = Counter()
    for place, text_id in enumerate(labelled["text_id"].to_pylist()):
        row = found.get(text_id)
        counts[row["status"] if row else MISSING] += 1
        if row and row["status"] == OK:
            values[place] = row["value"]
    return values, dict(counts)


def calibration_error(
    values: Floats, targets: Floats, cluster: Whole, language: str, resampling: Resampling
) -> Bounded:
    """Return the mean gap between values (N,) and targets (N,), both in [0, 1], over bins of value.

    ``cluster`` (N,) comes from `numbered`.
    """
    clusters = int(cluster.max()) + 1
    place = cluster * CALIBRATION_BINS + _calibration_bins(values)
    gaps = np.bincount(place, targets - values, clusters * CALIBRATION_BINS).reshape(clusters, CALIBRATION_BINS)
    sizes = np.bincount(cluster).astype(np.float64)
    value = float(np.abs(gaps.sum(axis=0)).sum() / len(values))
    if clusters == 1:
        return Bounded(value, None, None)
    drawn = [(block @ gaps) / (block @ sizes)[:, None] for block in weights(clusters, language, resampling)]
    means = np.concatenate(drawn)  # (R, bins)
    low, high = _pivotal(value, np.abs(means).sum(axis=1), resampling.confidence)
    chance = np.abs(means - gaps.sum(axis=0) / len(values)).sum(axis=1)  # errors that chance alone would produce
    return Bounded(value, 0.0 if value <= np.quantile(chance, resampling.confidence) else low, high)


def plain_calibration_error(values: Floats, targets: Floats) -> float:
    """Return the calibration error without an interval. Needs N > 0."""
    gaps = np.bincount(_calibration_bins(values), targets - values)
    return float(np.abs(gaps).sum() / len(values))


def _calibration_bins(values: Floats) -> Whole:
    """Return the bin (N,) of each value, from 0 to 9: [0, 0.1), [0.1, 0.2), … [0.9, 1]."""
    return np.minimum((values * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def _ranking(
    values: Floats, toxic: NDArray[np.bool_], cluster: Whole, language: str, resampling: Resampling
) -> tuple[list[Bounded], float]:
    """Return AUROC, average precision and best F1 with intervals, and the threshold of the best F1."""
    thresholds, rank = np.unique(values, return_inverse=True)
    exact, best = _curve(*_by_class(np.zeros_like(cluster), rank, toxic))
    points = [float(statistic[0]) for statistic in exact]
    threshold = float(thresholds[best[0]])
    if cluster.max() == 0:
        return [Bounded(point, None, None) for point in points], threshold
    positive, negative = _by_class(cluster, binned(values), toxic)
    draws: list[list[Floats]] = []
    for block in weights(len(positive), language, resampling):
        drawn: Counts = block.astype(np.float32)
        draws.append(_curve(drawn @ positive, drawn @ negative)[0])
    auroc, precision, f1 = (np.concatenate(parts) for parts in zip(*draws, strict=True))
    confidence = resampling.confidence
    return [
        Bounded(points[0], *bounds(auroc, confidence)),
        Bounded(points[1], *bounds(precision, confidence)),
        Bounded(points[2], *_pivotal(points[2], f1, confidence)),
    ], threshold


def _by_class(cluster: Whole, bins: Whole, toxic: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """Return the counts (P, B) of toxic texts, and those of harmless texts."""
    size = int(bins.max()) + 1
    both = histogram(cluster, bins + size * toxic, 2 * size)
    return both[:, size:], both[:, :size]


def _curve(positive: Counts, negative: Counts) -> tuple[list[Floats], Whole]:
    """Return AUROC, average precision and best F1, each (R,), and the bin (R,) of the best F1.

    Counts are (R, B), by ascending value. A statistic is NaN if a resample has only one class.
    """
    positive, negative = (side[:, ::-1].astype(np.float64) for side in (positive, negative))  # by descending value
    hits, alarms = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    toxic, harmless = hits[:, -1], alarms[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (positive * (harmless[:, None] - alarms + negative / 2)).sum(axis=1) / (toxic * harmless)
        precision = np.where(positive > 0, hits / (hits + alarms), 0.0)
        average = (positive * precision).sum(axis=1) / np.where(harmless > 0, toxic, np.nan)
        f1 = 2 * hits / (hits + alarms + toxic[:, None])
    best = f1.argmax(axis=1)
    highest = np.where((toxic > 0) & (harmless > 0), f1[np.arange(len(f1)), best], np.nan)
    return [auroc, average, highest], positive.shape[1] - 1 - best


def _pivotal(value: float, draws: Floats, confidence: float) -> tuple[float | None, float | None]:
    """Return the pivotal interval: twice the value minus the percentile bounds (Davison and Hinkley 1997, section 2.4).

    It is widened to contain the value, and limited to [0, 1].
    """
    low, high = bounds(draws, confidence)
    if low is None or high is None:
        return None, None
    return max(0.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))
