"""A whole small experiment's results, drawn at random; text in it is as hostile as text can be."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.cluster.timings import Timing
from detox_ray.config.languages import GROUPS
from detox_ray.measure import specs
from detox_ray.report import PerplexityEvaluator, ReportContent
from detox_ray.storage.metric_spec import Metrics
from detox_ray.storage.tables import COMPARISONS, EMPTY, METRICS, OK, UNSUPPORTED

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
HOSTILE = f"{SCRIPT}\u202eright\u200b to left\u2066 🤬 &amp; {{{{ 7*7 }}}} \x00\x9b\ud800 {'long' * 80}"
ARABIC = "أنت كسول جدا اليوم"
UNSUPPORTED_HERE = "hi"  # the detoxify of this experiment does not know it
NO_EVIDENCE = "ko"  # and nothing shows that it works here

# metric, scorers, before, after (of the first language; later ones fall less)
_METRICS = (
    ("average_toxicity", ("detoxify", "lexicon"), 0.50, 0.10),
    ("expected_maximum_toxicity", ("detoxify", "lexicon"), 0.80, 0.25),
    ("toxicity_probability", ("detoxify", "lexicon"), 0.90, 0.20),
    ("perplexity", ("held-out-text", "mt5"), 4.95, 5.20),
    ("dist_1", ("words",), 0.55, 0.53),
    ("dist_2", ("words",), 0.80, 0.74),
    ("dist_3", ("words",), 0.82, 0.81),
    ("novelty", ("words",), 0.90, 0.88),
    ("language_consistency", ("lingua",), 0.93, 0.84),
    ("english_drift", ("lingua",), 0.01, 0.07),
)


class Validity(NamedTuple):
    scorer: str
    reference: str
    language: str
    n: int
    n_toxic: int
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
    spearman: float | None
    spearman_low: float | None
    spearman_high: float | None
    status: str


class Agreement(NamedTuple):
    scorer: str
    other: str
    language: str
    n: int
    spearman: float | None
    spearman_low: float | None
    spearman_high: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    status: str


class Count(NamedTuple):
    scorer: str
    model: str
    language: str
    status: str
    n: int


def tables(
    languages: Sequence[str], convention: str, shift: float = 0.0, beside: str = "neplenbroek2025"
) -> tuple[pa.Table, pa.Table]:
    """METRICS and COMPARISONS of base and detox; toxicity also under another convention."""
    rng = np.random.default_rng(3)
    metrics: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for metric, scorers, start, end in _METRICS:
        for scorer in scorers:
            for label in (convention, beside) if scorer == "detoxify" else (convention,):
                place = {"metric": metric, "scorer": scorer, "convention": label, "part": "all"}
                asked = [code for code in languages if not (metric == "english_drift" and code == "en")]
                made = {code: _language(code, i, place, start, end + shift, rng) for i, code in enumerate(asked)}
                inside = {code: row for code, row in made.items() if row["in_macro"] and row["status"] == OK}
                made["macro"] = _macro(place, list(inside.values()))
                for code, row in made.items():
                    for model, side in (("base", "before"), ("detox", "after")):
                        value = row[side]
                        metrics.append({**place, "model": model, "language": code, "value": value})
                        metrics[-1] |= {"ci_low": value and value * 0.95, "ci_high": value and value * 1.05}
                        metrics[-1] |= {key: row[key] for key in ("n", "in_macro", "status")} | {"seeds": 1}
                    comparisons.append({**place, "model": "detox", "parent": "base", "language": code} | _gap(row))
    return pa.Table.from_pylist(metrics, schema=METRICS.columns), pa.Table.from_pylist(
        comparisons, schema=COMPARISONS.columns
    )


def _language(
    code: str, index: int, place: Mapping[str, str], start: float, end: float, rng: np.random.Generator
) -> dict[str, Any]:
    if code == UNSUPPORTED_HERE and place["scorer"] == "detoxify":
        return {"before": None, "after": None, "n": 0, "in_macro": False, "status": UNSUPPORTED}
    kept = 0.03 * index if "toxicity" in place["metric"] else 0.0
    before, after = (float(v * rng.uniform(0.97, 1.03)) for v in (start, end + kept * start))
    inside = not (code == NO_EVIDENCE and place["scorer"] == "detoxify")
    return {"before": before, "after": after, "n": 12, "in_macro": inside, "status": OK}


def _macro(place: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"before": None, "after": None, "n": 0, "in_macro": True, "status": "no_language_with_value"}
    before, after = (float(np.mean([row[side] for row in rows])) for side in ("before", "after"))
    return {"before": before, "after": after, "n": len(rows), "in_macro": True, "status": OK, "macro": True}


def _gap(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a comparison under its two values: an interval of a tenth of the larger on both sides."""
    shared = {key: row[key] for key in ("n", "in_macro", "status")} | {"seeds": 1}
    names = ("difference", "ci_low", "ci_high", "p_value", "p_corrected", "ratio", "ratio_low", "ratio_high")
    if row["before"] is None:
        return shared | dict.fromkeys((*names, "detectable"))
    gap, error = row["after"] - row["before"], 0.1 * max(row["before"], row["after"])
    ratio, p = row["after"] / row["before"], 0.0005 if abs(gap) > error else 0.4
    corrected = None if row.get("macro") else min(1.0, 3 * p)
    values = (gap, gap - error, gap + error, p, corrected, ratio, ratio * 0.9, ratio * 1.1)
    return shared | dict(zip(names, values, strict=True)) | {"detectable": 1.4 * error}


def validity(languages: Sequence[str]) -> list[Validity]:
    nothing = [None] * 16
    return [
        Validity("detoxify", "truth: toy17", code, 0, 0, *nothing, "unsupported_language")
        if code == UNSUPPORTED_HERE
        else Validity("detoxify", "truth: toy17", code, 60, 2, *nothing, "too_few")
        if code == NO_EVIDENCE
        else Validity(
            *("detoxify", "truth: toy17", code, 400, 130, 0.93, 0.91, 0.95, 0.88, 0.85, 0.9, 0.83, 0.8, 0.86, 0.41),
            *(0.06, 0.05, 0.08, 0.71, 0.68, 0.74, OK),
        )
        for code in languages
    ]


def content(
    languages: Sequence[str] = GROUPS["rtp-lx-17"], convention: str = "corrected", shift: float = 0.0
) -> ReportContent:
    metrics, comparisons = tables(languages, convention, shift)
    samples = [
        ExplorerPrompt(
            code,
            f"{code}-0000{k}",
            ARABIC if code == "ar" else f"The prompt {HOSTILE}",
            [
                ExplorerCompletion("base", 0, ARABIC if code == "ar" else HOSTILE, 0.93, OK),
                ExplorerCompletion("base", 1, "another one that is lazy", 0.71, OK),
                ExplorerCompletion("detox", 0, "is kind today", 0.02, OK),
                ExplorerCompletion("detox", 1, "", None, EMPTY),
            ],
        )
        for code in languages
        for k in range(2)
    ]
    return ReportContent(
        experiment="toy17 <b>demo</b>",
        experiment_yaml="name: toy17\nseed: 0\nmodels:\n  base: {path: toy17}\n# </pre>" + SCRIPT,
        languages=languages,
        models=("base", "detox"),
        compare=[("detox", "base")],
        metrics=metrics,
        comparisons=comparisons,
        described=Metrics(specs()),
        primary="detoxify",
        convention=convention,
        confidence=0.95,
        switches={"pooling": "row", "wrong_language": "count", "perplexity_cap": None, "perplexity_terms": "n-1"},
        settings={"generate": {"samples": 4, "temperature": 0.9}, "measure": {"threshold": 0.5}},
        revisions={"detoxify": "0123456789abcdef", "lexicon": "fedcba"},
        identities={"detoxify": "00aa11bb22cc33dd", "lexicon": "44ee55ff"},
        validity=validity(languages),
        agreement=[
            Agreement("detoxify", "lexicon", code, 96, 0.8, 0.7, 0.85, 0.6, 0.5, 0.7, OK)
            if code != UNSUPPORTED_HERE
            else Agreement("detoxify", "lexicon", code, 0, *[None] * 6, "no_common_scores")
            for code in languages
        ],
        counts=[
            Count("detoxify", model, code, status, n)
            for model in ("base", "detox")
            for code in languages
            for status, n in (((UNSUPPORTED, 48),) if code == UNSUPPORTED_HERE else ((OK, 47), (EMPTY, 1)))
        ],
        evaluators=[PerplexityEvaluator("mt5", "google/mt5-xl", "t5")],
        diversity_units="words",
        identifier="lingua",
        samples=samples,
        timings=[
            Timing("train", "detox", 75.2, 1, 960, "12.8 pairs/s"),
            Timing("generate", "base", 31.9, 17, 816, "5,800 tokens/s"),
            Timing("score", None, 8.24, 0, 0, ""),
        ],
        manifest={
            "code": "d93f5c2",
            "versions": {"torch": "2.13.0", "vllm": "0.32.0"},
            "hardware": {"cpu": SCRIPT, "cpus": 2, "gpus": []},
            "ran": {"train": {"detox": {"zero_stage": 2, "world_size": 2}}},
        },
        corpus_share={code: 0.4 if code == "en" else 0.6 / 16 for code in languages},
        skipped_rows={"prompts": 3, "pairs": 0},
        tuning_languages=("en",),
        toy_world=True,
        notes=[f"A note {SCRIPT}"],
    )
