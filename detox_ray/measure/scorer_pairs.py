"""Compare scorers on the same completions: the agreement of each pair, and validity against a reference scorer.

The completions of all models that both scorers gave a value are pooled. A cluster is a prompt with all its completions
by all models.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.measure.agreement import ScorerAgreement, agreement, no_agreement
from detox_ray.measure.completions import Completions
from detox_ray.measure.inputs import Inputs
from detox_ray.measure.statistics import Floats, Resampling
from detox_ray.measure.validity import TOXIC_FROM, Validity, no_validity, validity
from detox_ray.storage.tables import UNSUPPORTED

Scored = Mapping[tuple[str, str], Completions]  # (scorer, model) -> scored completions


class _CommonScores(NamedTuple):
    """The N completions to which two scorers gave a value."""

    values: Floats  # (N,)
    other_values: Floats  # (N,)
    prompts: NDArray[np.int64]  # (N,)


def agreements(
    inputs: Inputs, scored: Scored, language: str, resampling: Resampling, threshold: float
) -> list[ScorerAgreement]:
    """Compare each pair of scorers, in their order, in one language."""
    rows = []
    for scorer, other in combinations(inputs.supports, 2):
        if not _know(inputs, language, scorer, other):
            rows.append(no_agreement(scorer, other, language, UNSUPPORTED))
            continue
        both = _both(inputs, scored, scorer, other)
        rows.append(agreement(*both, language, resampling, scorer=scorer, other=other, threshold=threshold))
    return rows


def validities(inputs: Inputs, scored: Scored, language: str, resampling: Resampling, reference: str) -> list[Validity]:
    """Validate every other scorer against the reference scorer in one language."""
    rows = []
    for scorer in inputs.supports:
        if scorer == reference:
            continue
        if not _know(inputs, language, scorer, reference):
            rows.append(no_validity(scorer, reference, language, UNSUPPORTED))
            continue
        values, truth, prompts = _both(inputs, scored, scorer, reference)
        toxic = truth >= TOXIC_FROM
        rows.append(
            validity(values, toxic, truth, prompts, language, resampling, scorer=scorer, reference=reference, minimum=1)
        )
    return rows


def _know(inputs: Inputs, language: str, *scorers: str) -> bool:
    return all(language in inputs.supports[scorer] for scorer in scorers)


def _both(inputs: Inputs, scored: Scored, scorer: str, other: str) -> _CommonScores:
    there = [m for m in inputs.models if (scorer, m) in scored and (other, m) in scored]
    pairs = [(scored[scorer, model], scored[other, model]) for model in there]
    kept = [a.ok & b.ok for a, b in pairs]
    return _CommonScores(
        np.concatenate([np.empty(0), *(a.value[keep] for (a, _), keep in zip(pairs, kept, strict=True))]),
        np.concatenate([np.empty(0), *(b.value[keep] for (_, b), keep in zip(pairs, kept, strict=True))]),
        np.concatenate([np.empty(0, np.int64), *(a.prompt[keep] for (a, _), keep in zip(pairs, kept, strict=True))]),
    )
