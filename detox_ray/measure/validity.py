"""How far a scorer can be believed in a language, against people's labels, the truth, or another scorer.

    AUROC              chance that a toxic text has a higher value than a harmless one; ties count half; 0.5 is guessing
    average precision  mean precision over the toxic texts in falling order of value; ties fall together (scikit-learn)
    best F1            the highest F1 that any threshold gives, and that threshold (value >= threshold is toxic); as it
                       was chosen on these very texts, it will be somewhat lower on others
    calibration error  values read as probabilities: mean gap between value and share of toxic texts over ten bins of
                       equal width, weighted by their texts (ECE; Naeini et al. 2015); chance alone makes it > 0
    Spearman           rank correlation of value with grade

Intervals come from one bootstrap of whole clusters (a record's prompt with its completion; a prompt with all its
completions). They are percentile intervals, except that best F1 and calibration error, a maximum and a sum of absolute
gaps, rise by resampling alone: theirs are pivotal, which takes that out, and calibration error's reaches down to 0
if chance could explain all of it. Of 500 simulated sets of 200 or 700 texts, the 95 % interval of calibration error
then held the true one in 89 to 94 % (percentile: 0 % for a perfectly calibrated scorer). If a scorer separates the
texts perfectly, so does every resample, and the interval has no width: read it with n.

Values are exact; for intervals they are ranked into at most 512 bins, which moves a bound by about 0.001 or less, and
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

TOXIC_FROM = 0.5  # of a reference scorer's value
CALIBRATION_BINS = 10
ATTRIBUTE = "toxicity"

ONE_CLASS = "one_class"  # the labels call all of the texts toxic, or none
TOO_FEW = "too_few"  # fewer toxic, or harmless, texts than asked for
NO_LABELS = "no_labels"
NO_COMMON_SCORES = "no_common_scores"  # there are labels, but no text of them has a value
MISSING = "missing"


class Validity(NamedTuple):
    """One scorer in one language. A bound is None if the texts are of one cluster."""

    scorer: str
    reference: str  # "human: rtp-lx", "truth: toy17", "human: mine.csv", or a scorer's name
    language: str
    n: int  # texts that have a value and a label
    n_toxic: int  # of them
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
    spearman: float | None  # None, too, if there are no grades, or the grades or values are all the same
    spearman_low: float | None
    spearman_high: float | None
    status: str  # "ok", or why there is nothing


def has_evidence(row: Validity) -> bool:
    """Say whether the language counts in the scorer's macro mean: AUROC is above guessing, its interval's lower bound
    included.

    A low bar on purpose: it keeps out languages in which nothing shows that the scorer tells toxic from harmless text,
    not those in which it does so badly; how well it does is what the table is for.
    """
    return row.status == OK and row.ci_low is not None and row.ci_low > 0.5


def no_validity(scorer: str, reference: str, language: str, status: str, n: int = 0, n_toxic: int = 0) -> Validity:
    """Return the row of a scorer that could not be validated, with the reason."""
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
    """Validate a scorer on N texts with value (in [0, 1]) and label; ``clusters`` (N,) names what is drawn together.

    ``minimum``: toxic, and harmless, texts without which there is no row of numbers.
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
    """Hold a scorer against LABELLED by its LABELLED_SCORES (None: it has none), joined on text_id.

    Also {status: texts}, of all labelled texts: only those with status "ok" are in the row.
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
    """Return the (N,) toxicity of each row of LABELLED, NaN if it has none, and {status: texts}."""
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
    """Return the gap between (N,) values and (N,) targets, both in [0, 1], over bins of value.

    ``cluster`` is from `numbered`.
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
    chance = np.abs(means - gaps.sum(axis=0) / len(values)).sum(axis=1)  # what no gap at all would look like
    return Bounded(value, 0.0 if value <= np.quantile(chance, resampling.confidence) else low, high)


def plain_calibration_error(values: Floats, targets: Floats) -> float:
    """Return the same without an interval; N > 0."""
    gaps = np.bincount(_calibration_bins(values), targets - values)
    return float(np.abs(gaps).sum() / len(values))


def _calibration_bins(values: Floats) -> Whole:
    """Return (N,) 0 … 9: [0, 0.1), [0.1, 0.2), … [0.9, 1]."""
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
    """Return (P, B) counts of toxic and of harmless texts."""
    size = int(bins.max()) + 1
    both = histogram(cluster, bins + size * toxic, 2 * size)
    return both[:, size:], both[:, :size]


def _curve(positive: Counts, negative: Counts) -> tuple[list[Floats], Whole]:
    """Return AUROC, average precision and best F1, each (R,), from (R, B) counts by rising value; and the bin of that
    F1.

    NaN if a resample holds one class only.
    """
    positive, negative = (side[:, ::-1].astype(np.float64) for side in (positive, negative))  # falling value
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
    """Return twice the value minus the percentile interval, widened to hold the value, within [0, 1] (Davison and
    Hinkley 1997, section 2.4)."""
    low, high = bounds(draws, confidence)
    if low is None or high is None:
        return None, None
    return max(0.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))
