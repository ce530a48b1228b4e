"""From texts and their states to a probe and how well it tells toxic texts in each language.

Beside the probe stand two controls: probes of shuffled labels, which show what the method finds in nothing, and the
texts' length in tokens, which shows what no model is needed for. A single probe of shuffled labels would mislead: if
toxicity lies along the axis on which texts differ most, any direction tells toxic texts from harmless ones, one way
round or the other. The mean of `SHUFFLES` probes is near .5, and their range shows this.

Shapes: N texts, L layers whose states are read, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.explain.probe import Method, Probe, ReferenceTraining, fit, shuffled, split
from detox_ray.measure.resampling import Resampling
from detox_ray.measure.validity import validity

ENOUGH = 500  # texts of each kind that make labelled text the source of a probe
SHUFFLES = 20  # probes of shuffled labels
STORED = "stored"


class LabelledStates(NamedTuple):
    """Texts of one language as the model sees them."""

    states: NDArray[np.float32]  # (N, L, D)
    toxic: NDArray[np.bool_]  # (N,)
    clusters: NDArray[Any]  # (N,) names of what is resampled together
    lengths: NDArray[np.int64]  # (N,) tokens

    def at(self, places: NDArray[np.int64]) -> "LabelledStates":
        """Return the texts at these places."""
        return LabelledStates(self.states[places], self.toxic[places], self.clusters[places], self.lengths[places])


class Texts(NamedTuple):
    """Texts that somebody judged."""

    texts: list[str]
    toxic: NDArray[np.bool_]
    clusters: list[str]

    def first(self, most: int) -> "Texts":
        """Return at most so many texts, harmless and toxic ones as often as they come."""
        return Texts(self.texts[:most], self.toxic[:most], self.clusters[:most])


def of_pairs(pairs: pa.Table) -> Texts:
    """Return chosen completions as harmless texts and rejected ones as toxic texts, in turn."""
    rows = pairs.select(["pair_id", "chosen", "rejected"]).to_pylist()
    texts = [row[side] for row in rows for side in ("chosen", "rejected")]
    return Texts(texts, np.tile([False, True], len(rows)), [row["pair_id"] for row in rows for _ in range(2)])


def of_labelled(labelled: pa.Table) -> Texts:
    """Return labelled texts."""
    return Texts(
        labelled["text"].to_pylist(),
        np.array(labelled["toxic"].to_pylist(), dtype=bool),
        labelled["cluster"].to_pylist(),
    )


def enough(texts: Texts) -> bool:
    """Return whether a probe can be trained on labelled texts instead of pairs."""
    return min(int(texts.toxic.sum()), int((~texts.toxic).sum())) >= ENOUGH


def probe_rows(
    own: LabelledStates,
    labelled: dict[str, LabelledStates],
    *,
    method: Method,
    source: str,
    language: str,
    validation: float,
    seed: int,
    training: ReferenceTraining,
    resampling: Resampling,
    stored: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """Fit a probe, and return rows of PROBES: its weights with what it reaches on its own texts, and every language.

    The probe reads the last of the states. If there are other layers' states, each gets a probe of its own. A probe
    that was trained on labelled texts is tested, in their language, only on those that were held out.

    Args:
        own: the texts of its source, which are split into training and validation.
        labelled: language -> labelled texts.
        method: of fitting.
        source: the source's name.
        language: the language of its own texts.
        validation: share of its own texts that it is not trained on.
        seed: of the split, the fit and the shuffling.
        training: of the reference method.
        resampling: of the intervals.
        stored: weights that are given instead of fitted.
    """
    parts = split(len(own.toxic), validation, seed)
    train, held_out = own.at(parts.train), own.at(parts.validation)
    probe = fit(method, train.states[:, -1], train.toxic, seed, training) if stored is None else Probe(stored)
    controls = [
        fit(method, train.states[:, -1], shuffled(train.toxic, seed, draw), seed, training) for draw in range(SHUFFLES)
    ]
    if source == "labelled" and stored is None:
        labelled = {code: held_out if code == language else texts for code, texts in labelled.items()}
    row = {"method": method if stored is None else STORED, "source": source}

    def rows(texts: LabelledStates, of_language: str, part: str) -> list[dict[str, Any]]:
        by_control = {
            "none": _figures(probe.scores(texts.states[:, -1]), texts, of_language, resampling),
            "shuffled": _of_shuffled(controls, texts, of_language, resampling),
            "length": _figures(texts.lengths.astype(np.float64), texts, of_language, resampling),
        }
        head = {**row, "language": of_language, "split": part}
        return [{**head, "control": control, **figures} for control, figures in by_control.items()]

    found = rows(train, language, "train")
    found[0] |= {"weights": probe.weights.tolist(), "bias": probe.bias}
    found += rows(held_out, language, "validation")
    for code, texts in labelled.items():
        found += rows(texts, code, "labelled")
    for layer in range(train.states.shape[1] - 1):
        of_layer = fit(method, train.states[:, layer], train.toxic, seed, training)
        head = {"method": method, "source": source, "control": "none", "layer": layer}
        for texts, code, part in (
            (held_out, language, "validation"),
            *((t, c, "labelled") for c, t in labelled.items()),
        ):
            figures = _figures(of_layer.scores(texts.states[:, layer]), texts, code, resampling)
            found.append({**head, "language": code, "split": part, **figures})
    return found


def _of_shuffled(
    controls: Sequence[Probe], texts: LabelledStates, language: str, resampling: Resampling
) -> dict[str, Any]:
    """Return the means over some probes, and the range that holds the resampling's share of their AUROCs."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = [control.scores(texts.states[:, -1]) for control in controls]
    figures = _figures(scores[0], texts, language, resampling)
    if figures["auroc"] is None:
        return figures
    aurocs = [float(roc_auc_score(texts.toxic, each)) for each in scores]
    tail = (1 - resampling.confidence) / 2
    low, high = (float(bound) for bound in np.quantile(aurocs, (tail, 1 - tail)))
    precision = float(np.mean([average_precision_score(texts.toxic, each) for each in scores]))
    return {**figures, "auroc": float(np.mean(aurocs)), "ci_low": low, "ci_high": high, "average_precision": precision}


def _figures(
    scores: NDArray[np.float64], texts: LabelledStates, language: str, resampling: Resampling
) -> dict[str, Any]:
    spread = float(np.ptp(scores))
    in_unit = (scores - scores.min()) / spread if spread else np.zeros(len(scores))  # as `validity` wants values
    row = validity(in_unit, texts.toxic, None, texts.clusters, language, resampling, scorer="", reference="", minimum=1)
    names = ("n", "n_toxic", "auroc", "ci_low", "ci_high", "average_precision", "status")
    return {name: getattr(row, name) for name in names}


def probe_of(rows: pa.Table) -> Probe:
    """Return the probe that PROBES holds."""
    kept: Sequence[dict[str, Any]] = [row for row in rows.to_pylist() if row["weights"] is not None]
    return Probe(np.array(kept[0]["weights"]), kept[0]["bias"] or 0.0)
