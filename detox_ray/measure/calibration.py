"""Fit one map per language from a scorer's values to a reference: people's labels, or another scorer's values.

Each map has the calibration error before and after it. The latter is cross-validated: it is measured on texts whose
clusters its fit did not see. A language in which no meaningful map can be fitted is refused, with the reason.
`detox_ray.data.calibration` defines the maps and their file.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.data.calibration import Calibration, Isotonic, Method, Platt, log_odds, sigmoid
from detox_ray.measure.resampling import Floats, generator
from detox_ray.measure.spearman import Whole, numbered
from detox_ray.measure.validity import NO_COMMON_SCORES, TOO_FEW, TOXIC_FROM, plain_calibration_error, toxicity_of

__all__ = ["Calibration", "CalibrationSample", "fit", "labels_sample", "scores_sample"]

FOLDS = 5
NOT_RISING = "not_rising"  # a higher value does not mean more toxic, so no map can help


class CalibrationSample(NamedTuple):
    """The texts to which the map of one language is fitted."""

    values: Floats  # (N,) the scorer's values, in [0, 1]
    targets: Floats  # (N,) the reference's values, in [0, 1]
    clusters: NDArray[Any]  # (N,) clusters, which are never split between fit and validation


def fit(
    samples: Mapping[str, CalibrationSample],
    *,
    scorer: str,
    identity: str,
    reference: str,
    method: Method,
    minimum: int,
    seed: int,
) -> Calibration:
    """Fit a map for each language. Languages with too few texts, or in which the scorer does not help, are refused.

    Args:
        samples: Language -> the texts to fit to.
        scorer: Name of the scorer.
        identity: Its identity, which changes with everything that changes a value.
        reference: Name of the reference.
        method: "isotonic" or "platt".
        minimum: Fewest toxic texts, and fewest harmless ones, that a language needs. The reference decides (>= 0.5).
        seed: Seed of the folds of the cross-validation.
    """
    maps: dict[str, Isotonic | Platt] = {}
    refused: dict[str, str] = {}
    for language, sample in samples.items():
        fitted_map = _language(sample, language, method, minimum, seed)
        if isinstance(fitted_map, str):
            refused[language] = fitted_map
        else:
            maps[language] = fitted_map
    return Calibration(
        scorer=scorer, identity=identity, reference=reference, method=method, languages=maps, refused=refused
    )


def labels_sample(labelled: pa.Table, scores: pa.Table | None) -> CalibrationSample:
    """Return the sample of LABELLED and a scorer's LABELLED_SCORES, if there are any, with the labels as targets.

    Texts without a value are left out.
    """
    values, _ = toxicity_of(labelled, scores)
    return _kept(values, labelled["toxic"].to_numpy().astype(np.float64), labelled["cluster"].to_numpy())


def scores_sample(labelled: pa.Table, scores: pa.Table | None, reference: pa.Table | None) -> CalibrationSample:
    """Return the sample with another scorer's LABELLED_SCORES as targets, such as archived Perspective scores."""
    values, targets = (toxicity_of(labelled, table)[0] for table in (scores, reference))
    return _kept(values, targets, labelled["cluster"].to_numpy())


def _kept(values: Floats, targets: Floats, clusters: NDArray[Any]) -> CalibrationSample:
    keep = ~np.isnan(values) & ~np.isnan(targets)
    return CalibrationSample(values[keep], np.clip(targets[keep], 0, 1), clusters[keep])


def _language(
    sample: CalibrationSample, language: str, method: Method, minimum: int, seed: int
) -> Isotonic | Platt | str:
    """Return the map of a language, or why it is refused."""
    toxic = int((sample.targets >= TOXIC_FROM).sum())
    if not len(sample.targets):
        return NO_COMMON_SCORES
    if min(toxic, len(sample.targets) - toxic) < minimum:
        return TOO_FEW
    errors = {
        "n": len(sample.targets),
        "error_before": plain_calibration_error(sample.values, sample.targets),
        "error_after": _error_after(sample, method, language, seed),
    }
    if method == "platt":
        slope, intercept = _platt(sample.values, sample.targets)
        return Platt(slope=slope, intercept=intercept, **errors) if slope > 0 else NOT_RISING
    x, y = _isotonic(sample.values, sample.targets)
    return Isotonic(x=x, y=y, **errors) if y[-1] > y[0] else NOT_RISING


def _isotonic(values: Floats, targets: Floats) -> tuple[list[float], list[float]]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1).fit(values, targets)
    return fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()


def _platt(values: Floats, targets: Floats) -> tuple[float, float]:
    """Return the slope and intercept with the least cross-entropy to Platt's smoothed targets.

    A target t between 0 and 1 counts as t toxic texts and 1 - t harmless ones.
    """
    from sklearn.linear_model import LogisticRegression

    toxic = targets.sum()
    high, low = (toxic + 1) / (toxic + 2), 1 / (len(targets) - toxic + 2)
    smooth = targets * high + (1 - targets) * low
    twice = np.tile(log_odds(values), 2)[:, None]
    sides, shares = np.repeat([1, 0], len(values)), np.concatenate([smooth, 1 - smooth])
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8).fit(twice, sides, shares)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _error_after(sample: CalibrationSample, method: Method, language: str, seed: int) -> float | None:
    """Return the cross-validated calibration error of mapped values; None if there is only one cluster."""
    cluster: Whole = numbered(sample.clusters)
    clusters = int(cluster.max()) + 1
    if clusters < 2:
        return None
    fold = (generator(seed, "folds", language).permutation(clusters) % min(FOLDS, clusters))[cluster]
    mapped = np.empty(len(sample.values))
    for held in np.unique(fold):
        out = fold == held
        seen = sample.values[~out], sample.targets[~out]
        if method == "platt":
            slope, intercept = _platt(*seen)
            mapped[out] = sigmoid(slope * log_odds(sample.values[out]) + intercept)
        else:
            mapped[out] = np.interp(sample.values[out], *_isotonic(*seen))
    return plain_calibration_error(mapped, sample.targets)
