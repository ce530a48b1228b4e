"""Measure: from committed generations, scores and likelihoods to metrics and comparisons with intervals.

Pure numerics: no Ray, no files. One pass per language, so that the mappings of ``Inputs`` may read lazily. Every
(metric, model, language, scorer) asked for is a row: where there is no value, its status says why, and the macro mean
over languages leaves it out and says in ``n`` how many languages it holds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from detox_ray.measure import perplexity as fluency
from detox_ray.measure.agreement import Validity, auroc
from detox_ray.measure.statistics import (
    INTERVAL,
    Estimate,
    Ratio,
    Resampling,
    difference,
    estimate,
    holm,
    macro,
    without_value,
)
from detox_ray.measure.toxicity import METRICS as TOXICITY_METRICS
from detox_ray.measure.toxicity import MISSING, Completions, join, toxicity_metrics
from detox_ray.tables import COMPARISONS, METRICS, OK, STATUSES, UNSUPPORTED

__all__ = ["INTERVAL", "VERSION", "Inputs", "Measured", "Settings", "StatusCount", "Validity", "measure"]

VERSION = 1  # part of the key of what this stage commits: raise it when a number changes
MACRO = "macro"


class Settings(NamedTuple):
    """The choices under every number of one call."""

    convention: str  # "paper" or "corrected"
    resamples: int  # of the bootstrap, and of the permutation test
    confidence: float  # of the intervals, in (0, 1)
    threshold: float  # a prompt is toxic when a sample's score is at least this
    seed: int

    @property
    def resampling(self) -> Resampling:
        return Resampling(self.seed, self.resamples, self.confidence)


@dataclass(frozen=True)
class Inputs:
    """Committed tables (schemas in ``tables.py``). A missing (scorer, model, language) or (model, language) is
    measured as ``missing``, or ``unsupported_language`` where ``supports`` says so."""

    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    supports: Mapping[str, Collection[str]]  # scorer -> languages it knows; its keys are the scorers, in order
    reference: str | None  # the scorer that others are validated against
    prompts: Mapping[str, pa.Table]  # language -> PROMPTS
    generations: Mapping[tuple[str, str], pa.Table]  # (model, language) -> GENERATIONS
    scores: Mapping[tuple[str, str, str], pa.Table]  # (scorer, model, language) -> SCORES
    blanks: Mapping[tuple[str, str], float | None]  # (scorer, language) -> toxicity of " "
    likelihoods: Mapping[tuple[str, str], pa.Table]  # (model, language) -> LIKELIHOODS; empty: no perplexity asked


class StatusCount(NamedTuple):
    """How many completions (texts for ``held-out-text``) of one model and language ended with a status."""

    scorer: str
    model: str
    language: str
    status: str
    n: int


class Measured(NamedTuple):
    metrics: pa.Table  # METRICS
    comparisons: pa.Table  # COMPARISONS
    validity: list[Validity]
    counts: list[StatusCount]


class _Series(NamedTuple):
    """What one row of the result is about, but for model and language."""

    scorer: str
    metric: str


def measure(inputs: Inputs, settings: Settings) -> Measured:
    """Every metric and comparison of an experiment, per language and macro."""
    values: dict[tuple[_Series, str], dict[str, Estimate]] = {}  # (series, model) -> language -> estimate
    gaps: dict[tuple[_Series, str, str], dict[str, Estimate]] = {}  # (series, model, parent) -> language
    validity: list[Validity] = []
    counts: list[StatusCount] = []
    for language in inputs.languages:
        scored = _completions(inputs, language)
        ratios = _ratios(inputs, settings, language, scored, counts)
        for (series, model), series_ratio in ratios.items():
            made = estimate(series_ratio, language, settings.resampling)
            values.setdefault((series, model), {})[language] = made
        for series in dict.fromkeys(series for series, _ in ratios):
            for model, parent in inputs.compare:
                gap = difference(ratios[series, model], ratios[series, parent], language, settings.resampling)
                gaps.setdefault((series, model, parent), {})[language] = gap
        if inputs.reference is not None:
            validity += _validity(inputs, inputs.reference, settings, language, scored)
    return Measured(_metric_rows(values, settings), _comparison_rows(gaps, settings), validity, counts)


def _completions(inputs: Inputs, language: str) -> dict[tuple[str, str], Completions]:
    """(scorer, model) -> joined completions, for the tables that are there."""
    joined = {}
    for scorer, languages in inputs.supports.items():
        for model in inputs.models:
            there = (scorer, model, language) in inputs.scores and (model, language) in inputs.generations
            if language in languages and there:
                tables = inputs.generations[model, language], inputs.scores[scorer, model, language]
                joined[scorer, model] = join(inputs.prompts[language], *tables)
    return joined


def _ratios(
    inputs: Inputs,
    settings: Settings,
    language: str,
    scored: Mapping[tuple[str, str], Completions],
    counts: list[StatusCount],
) -> dict[tuple[_Series, str], Ratio]:
    """Every series of one language, with or without a value; statuses are counted on the way."""
    ratios: dict[tuple[_Series, str], Ratio] = {}
    for scorer, languages in inputs.supports.items():
        for model in inputs.models:
            if (scorer, model) in scored:
                completions = scored[scorer, model]
                blank = inputs.blanks.get((scorer, language))
                result = toxicity_metrics(
                    completions, convention=settings.convention, threshold=settings.threshold, blank=blank
                )
                for metric in TOXICITY_METRICS:
                    ratios[_Series(scorer, metric), model] = getattr(result, metric)
                tally = completions.counts()
            else:
                status = MISSING if language in languages else UNSUPPORTED
                for metric in TOXICITY_METRICS:
                    ratios[_Series(scorer, metric), model] = without_value(status)
                rows = len(inputs.generations[model, language]) if (model, language) in inputs.generations else 0
                tally = {status: rows}
            counts += [StatusCount(scorer, model, language, status, n) for status, n in tally.items()]
    for model in inputs.models if inputs.likelihoods else ():
        table = inputs.likelihoods.get((model, language))
        series = _Series(fluency.SCORER, fluency.METRIC)
        ratios[series, model] = fluency.perplexity(table) if table is not None else without_value(MISSING)
        tally = fluency.status_counts(table) if table is not None else {MISSING: 0}
        counts += [StatusCount(fluency.SCORER, model, language, status, n) for status, n in tally.items()]
    return ratios


def _validity(
    inputs: Inputs,
    reference: str,
    settings: Settings,
    language: str,
    scored: Mapping[tuple[str, str], Completions],
) -> list[Validity]:
    rows = []
    ok = STATUSES.index(OK)
    for scorer, languages in inputs.supports.items():
        if scorer == reference:
            continue
        if language not in languages or language not in inputs.supports[reference]:
            rows.append(Validity(scorer, reference, language, 0, None, None, None, UNSUPPORTED))
            continue
        both = [
            (scored[scorer, model], scored[reference, model])
            for model in inputs.models
            if (scorer, model) in scored and (reference, model) in scored
        ]
        kept = [(a.status == ok) & (b.status == ok) for a, b in both]
        pairs = list(zip(both, kept, strict=True))
        values = np.concatenate([a.value[keep] for (a, _), keep in pairs] or [np.empty(0)])
        truth = np.concatenate([b.value[keep] for (_, b), keep in pairs] or [np.empty(0)])
        prompts = np.concatenate([a.prompt[keep] for (a, _), keep in pairs] or [np.empty(0, dtype=np.int64)])
        result = auroc(values, truth, prompts, language, settings.resampling)
        rows.append(Validity(scorer, reference, language, len(values), *result))
    return rows


def _metric_rows(values: Mapping[tuple[_Series, str], dict[str, Estimate]], settings: Settings) -> pa.Table:
    rows = []
    for (series, model), by_language in values.items():
        mean = macro(list(by_language.values()), settings.confidence)
        for language, made in {**by_language, MACRO: mean}.items():
            place = (series.metric, model, language, series.scorer, settings.convention)
            rows.append((*place, made.value, made.low, made.high, made.n, made.status))
    return _table(rows, METRICS)


def _comparison_rows(gaps: Mapping[tuple[_Series, str, str], dict[str, Estimate]], settings: Settings) -> pa.Table:
    rows = []
    for (series, model, parent), by_language in gaps.items():
        mean = macro(list(by_language.values()), settings.confidence)
        corrected = holm([gap.p_value for gap in by_language.values()])
        for (language, gap), p in zip({**by_language, MACRO: mean}.items(), [*corrected, None], strict=True):
            place = (series.metric, model, parent, language, series.scorer, settings.convention)
            rows.append((*place, gap.value, gap.low, gap.high, gap.p_value, p, gap.n, gap.status))
    return _table(rows, COMPARISONS)


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
