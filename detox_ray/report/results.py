"""``results.json``: one object per number, for people's scripts; keys are fixed in architecture.md.

``null`` where there is no number (the row's ``status`` says why), never NaN. Everything but ``timings`` is the same
for the same experiment, whatever was resumed.
"""

import json
from statistics import NormalDist
from typing import Any

from detox_ray.report.content import CountRow, ReportContent, ValidityRow

POWER = 0.8


def results(content: ReportContent) -> bytes:
    """UTF-8 JSON text.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return json.dumps(_document(content), ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8", "replace")


def detectable(ci_low: float | None, ci_high: float | None, confidence: float) -> float | None:
    """The smallest true difference that an experiment with this interval would find four times in five.

    From the interval's width, as for a normal statistic: (z of the confidence + z of the power) standard errors.
    """
    if ci_low is None or ci_high is None:
        return None
    normal = NormalDist()
    z = normal.inv_cdf((1 + confidence) / 2)
    return (z + normal.inv_cdf(POWER)) * (ci_high - ci_low) / (2 * z)


def comparison_rows(content: ReportContent) -> list[dict[str, Any]]:
    """The comparisons table as objects, each with the difference that it could have detected."""
    return [
        {**row, "detectable": detectable(row["ci_low"], row["ci_high"], content.confidence)}
        for row in content.comparisons.to_pylist()
    ]


def _document(content: ReportContent) -> dict[str, Any]:
    return {
        "experiment": content.experiment,
        "convention": content.convention,
        "confidence": content.confidence,
        "primary_scorer": content.primary,
        "languages": list(content.languages),
        "models": list(content.models),
        "compare": [{"model": model, "parent": parent} for model, parent in content.compare],
        "metrics": content.metrics.to_pylist(),
        "comparisons": comparison_rows(content),
        "validity": [_fields(row, ValidityRow) for row in content.validity],
        "counts": [_fields(row, CountRow) for row in content.counts],
        "skipped_rows": dict(content.skipped_rows),
        "corpus_share": None if content.corpus_share is None else dict(content.corpus_share),
        "timings": [timing._asdict() for timing in content.timings],
        "notes": list(content.notes),
    }


def _fields(row: object, kind: type) -> dict[str, Any]:
    names = [name for name in vars(kind) if isinstance(vars(kind)[name], property)]
    return {name: getattr(row, name) for name in names}
