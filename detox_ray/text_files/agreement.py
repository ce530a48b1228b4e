"""`detox-ray agreement A B`: what changes when scorer B takes the place of A, on texts that both scored.

A page and a CSV with the numbers of `detox_ray.measure.successor`, per language; on request, the map from B's values to
A's that a scorer of type calibrated takes.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from detox_ray.config import ConfigError, InputError, Problem
from detox_ray.data.calibration import Calibration
from detox_ray.measure import calibration
from detox_ray.measure.calibration import CalibrationSample
from detox_ray.measure.resampling import Resampling
from detox_ray.measure.spearman import numbered
from detox_ray.measure.successor import PairedScores, Statistic, compare, density, reliability
from detox_ray.report.agreement_page import AgreementContent, Disagreement, LanguageFigures, agreement_page
from detox_ray.score.score_cache import text_hash
from detox_ray.storage.local_files import why_unwritable
from detox_ray.text_files.text_scores import TextScores, read_scores

PAGE, TABLE = "index.html", "agreement.csv"
UNKNOWN = "und"  # the language of texts for which neither source names one
SHOWN = 5  # texts of each language on which the two differ most


class AgreementRequest(NamedTuple):
    """The two sets of scores to compare, and the options and outputs of the comparison."""

    first: str  # A: the scorer that is replaced
    second: str  # B: the scorer that replaces it
    out: Path
    attribute: str = "toxicity"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    threshold: float = 0.5  # that the page's first table is about
    label_column: str | None = None
    calibrate: Path | None = None
    method: Literal["isotonic", "platt"] = "isotonic"
    minimum: int = 50  # toxic, and harmless, texts that a language needs for a map
    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    most: int = 20_000  # texts of a language: a sample by hash of more


class AgreementOutcome(NamedTuple):
    """The result of a comparison."""

    rows: list[Statistic]
    page: Path
    calibration: Calibration | None


class _Pairs(NamedTuple):
    """Texts of one language, with both values."""

    texts: list[str]
    scores: PairedScores
    left_out: int  # texts beyond `most`


def run(request: AgreementRequest) -> AgreementOutcome:
    """Compare the two, and write the page, the table and, on request, the map. Raises ConfigError and InputError."""
    _check(request)
    first = read_scores(request.first, request.attribute, request.label_column)
    second = read_scores(request.second, request.attribute, request.label_column)
    if request.calibrate is not None and second.identity is None:
        rule = "the map holds the identity of B's scorer: give B as a Parquet file of score-file, or a finished run"
        raise ConfigError([Problem("--calibrate", str(request.calibrate), rule)])
    pairs = _paired(first, second, request.most)
    if not pairs:
        raise InputError(f"no text was scored by both {request.first} and {request.second} in one language")
    resampling = Resampling(request.seed, request.resamples, request.confidence)
    thresholds = sorted({*request.thresholds, request.threshold})
    rows = [row for code, found in pairs.items() for row in compare(found.scores, code, thresholds, resampling)]
    fitted = None
    if request.calibrate is not None:
        fitted = _fit(request, first, second, pairs)
        request.calibrate.parent.mkdir(parents=True, exist_ok=True)
        request.calibrate.write_text(fitted.to_json(), encoding="utf-8")
    content = AgreementContent(
        first=f"{first.scorer} ({first.source})",
        second=f"{second.scorer} ({second.source})",
        attribute=request.attribute,
        threshold=request.threshold,
        thresholds=thresholds,
        confidence=request.confidence,
        rows=rows,
        figures=[_figures(code, found) for code, found in pairs.items()],
        left_out={code: found.left_out for code, found in pairs.items() if found.left_out},
        without_value=(first.without_value, second.without_value),
    )
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / TABLE).write_text(_csv(rows), encoding="utf-8")
    (request.out / PAGE).write_bytes(agreement_page(content))
    return AgreementOutcome(rows, request.out / PAGE, fitted)


def _check(request: AgreementRequest) -> None:
    problems = [
        Problem("--threshold", threshold, "must be above 0, and 1 at most")
        for threshold in (request.threshold, *request.thresholds)
        if not 0 < threshold <= 1
    ]
    if request.method not in ("isotonic", "platt"):
        problems.append(Problem("--method", request.method, "must be isotonic or platt"))
    if request.calibrate is not None and request.attribute != "toxicity":
        problems.append(Problem("--attribute", request.attribute, "a calibration map is of toxicity"))
    for option, given, file in (
        ("--out", request.out, request.out / PAGE),
        ("--calibrate", request.calibrate, request.calibrate),
    ):
        if file is not None and (reason := why_unwritable(file)):
            problems.append(Problem(option, str(given), f"cannot be written: {reason}"))
    if problems:
        raise ConfigError(problems)


def _paired(first: TextScores, second: TextScores, most: int) -> dict[str, _Pairs]:
    """Join the two by text and language, and return the pairs of each language."""
    rows: dict[str, list[tuple[str, float, float, str, bool | None]]] = {}
    for text, of_first in first.by_text.items():
        of_second = second.by_text.get(text, {})
        for language, a in of_first.items():
            for other_language, b in of_second.items():
                if language is not None and other_language is not None and language != other_language:
                    continue
                cluster = a.cluster if a.cluster != text else b.cluster
                label = b.label if a.label is None else a.label
                rows.setdefault(language or other_language or UNKNOWN, []).append(
                    (text, a.value, b.value, cluster, label)
                )
    pairs: dict[str, _Pairs] = {}
    for language, found in sorted(rows.items()):
        kept = sorted(found, key=lambda row: text_hash(row[0]))[:most]
        texts, values, other, clusters, labels = zip(*kept, strict=True)
        known = np.array([label is not None for label in labels])
        scores = PairedScores(
            np.array(values),
            np.array(other),
            numbered(np.array(clusters, dtype=object)),
            np.array(labels, dtype=bool) if known.all() else None,
        )
        pairs[language] = _Pairs(list(texts), scores, len(found) - len(kept))
    return pairs


def _fit(request: AgreementRequest, first: TextScores, second: TextScores, pairs: dict[str, _Pairs]) -> Calibration:
    """Fit the maps from B's values to A's."""
    samples = {
        language: CalibrationSample(found.scores.other, found.scores.values, found.scores.cluster)
        for language, found in pairs.items()
    }
    assert second.identity is not None
    return calibration.fit(
        samples,
        scorer=second.scorer,
        identity=second.identity,
        reference=first.scorer,
        method=request.method,
        minimum=request.minimum,
        seed=request.seed,
    )


def _figures(language: str, found: _Pairs) -> LanguageFigures:
    values, other = found.scores.values, found.scores.other
    order = np.argsort(-np.abs(other - values), kind="stable")[:SHOWN]
    differing = [Disagreement(found.texts[place], float(values[place]), float(other[place])) for place in order]
    return LanguageFigures(language, density(values, other).tolist(), reliability(values, other), differing)


def _csv(rows: Sequence[Statistic]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Statistic._fields)
    writer.writerows(rows)
    return stream.getvalue()
