"""``results.json``: every number of the report, for scripts, under stable keys.

docs/architecture.md, "Names that people and tools rely on", lists the keys. A missing number is ``null``, never NaN,
and the row's ``status`` says why. Everything except ``timings`` is the same for the same experiment, even if the run
was resumed. ``models`` and ``compare`` are those that the report shows: a group of seeds replaces its models, whose
numbers are also in ``metrics`` and ``comparisons``. ``verdicts`` are the gate's; ``recommended`` is the model to
release, or null. ``run_comparison.py`` and the gate read these documents, and use ``metrics_described`` to interpret
the metrics.
"""

import json
from collections.abc import Mapping
from typing import Any

from detox_ray.gate import Verdict
from detox_ray.report.content import AgreementRow, CountRow, ReportContent, ValidityRow, fields_of
from detox_ray.report.release import recommended
from detox_ray.report.shown_models import shown_models, shown_pairs


def results(content: ReportContent) -> bytes:
    """Return the document as JSON in UTF-8.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    return json.dumps(document(content), ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8", "replace")


def document(content: ReportContent) -> dict[str, Any]:
    """Return the document that ``results.json`` holds."""
    return {
        "experiment": content.experiment,
        "convention": content.convention,
        "switches": dict(content.switches),
        "confidence": content.confidence,
        "interval": content.interval,
        "correction": content.correction,
        "primary_scorer": content.primary,
        "settings": flat(content.settings),
        "revisions": dict(content.revisions),
        "identities": dict(content.identities),
        "evaluators": [evaluator._asdict() for evaluator in content.evaluators],
        "diversity_units": content.diversity_units,
        "identifier": content.identifier,
        "languages": list(content.languages),
        "models": shown_models(content),
        "compare": [{"model": model, "parent": parent} for model, parent in shown_pairs(content)],
        "verdicts": [_verdict(verdict) for verdict in content.verdicts],
        "recommended": recommended(content),
        "seed_groups": {label: list(models) for label, models in content.seed_groups.items()},
        "sweeps": {
            family: {name: dict(values) for name, values in variants.items()}
            for family, variants in content.sweeps.items()
        },
        "metrics_described": content.described.to_rows(),
        "metrics": content.metrics.to_pylist(),
        "comparisons": content.comparisons.to_pylist(),
        "validity": [fields_of(row, ValidityRow) for row in content.validity],
        "agreement": [fields_of(row, AgreementRow) for row in content.agreement],
        "counts": [fields_of(row, CountRow) for row in content.counts],
        "skipped_rows": dict(content.skipped_rows),
        "corpus_share": None if content.corpus_share is None else dict(content.corpus_share),
        "timings": [timing._asdict() for timing in content.timings],
        "notes": list(content.notes),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as a JSON object, with the fields of its findings that are results."""
    checks = [
        {
            **check._asdict(),
            "result": str(check.result),
            "findings": [
                {
                    "language": finding.language,
                    "value": finding.value,
                    "ci_low": finding.low,
                    "ci_high": finding.high,
                    "verdict": finding.verdict,
                    "reason": finding.reason,
                }
                for finding in check.findings
            ],
        }
        for check in verdict.checks
    ]
    return {**verdict._asdict(), "checks": checks}


def flat(group: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into dotted names: {"generate": {"samples": 25}} -> {"generate.samples": 25}."""
    rows: dict[str, Any] = {}
    for key, value in group.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows
