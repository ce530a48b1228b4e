"""Tables of the predictors of transfer and of their correlations with the fall in toxicity.

Shapes: L languages, P prompts.
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.explain.alignment import subword_overlap
from detox_ray.explain.correlation import Method, correlate
from detox_ray.explain.tables import CORRELATIONS, PREDICTORS
from detox_ray.explain.transfer import TARGETS, falls
from detox_ray.measure.corrections import holm
from detox_ray.measure.resampling import Resampling
from detox_ray.storage.tables import OK

ENGLISH = "en"
OF_SENTENCES = {  # predictor -> column of ALIGNMENTS
    "aligned_cosine": "aligned_cosine",
    "centred_cosine": "centred_cosine",
    "retrieval_at_1": "retrieval",
    "centred_retrieval_at_1": "centred_retrieval",
    "mismatched_cosine": "mismatched_cosine",
}
OVERLAP, SHARE = "subword_overlap", "corpus_share"
BASELINE = "mismatched_cosine"  # the part of the aligned cosine that comes from anisotropy: no hypothesis
METHODS: tuple[Method, ...] = ("spearman", "pearson")
Floats = NDArray[np.float64]


def predictor_rows(
    alignments: Mapping[str, pa.Table], properties: Mapping[str, Mapping[str, float]], overlap: str
) -> pa.Table:
    """Return the rows of PREDICTORS of one parent.

    Args:
        alignments: language -> ALIGNMENTS, English included.
        properties: predictor -> language -> value, for predictors that need no model.
        overlap: "dice" for Dice's coefficient, or "half" for half of it.
    """
    rows: list[dict[str, Any]] = []
    english = list(chain(*alignments[ENGLISH]["tokens"].to_pylist()))
    for language, sentences in alignments.items():
        if language == ENGLISH:
            continue
        n = sentences.num_rows
        of_sentences: dict[str, float | None] = {
            name: float(np.mean(sentences[column].to_numpy())) for name, column in OF_SENTENCES.items()
        }
        shared = subword_overlap(english, chain(*sentences["tokens"].to_pylist()))
        of_sentences[OVERLAP] = shared if overlap == "dice" else shared / 2
        rows += [_row(language, name, value, n) for name, value in of_sentences.items()]
        rows += [_row(language, name, values.get(language), 0) for name, values in properties.items()]
    return pa.Table.from_pylist(rows, schema=PREDICTORS.columns)


def _row(language: str, predictor: str, value: float | None, n: int) -> dict[str, Any]:
    status = OK if value is not None else "unknown"
    return {"language": language, "predictor": predictor, "value": value, "n": n, "status": status}


class PromptScores(NamedTuple):
    """Mean toxicity of each prompt's completions by one model in one language."""

    means: dict[str, float]  # prompt_id -> mean; prompts without a scored completion are left out
    completions: int


def prompt_scores(scores: pa.Table) -> PromptScores:
    """Compute the means from rows of SCORES."""
    values: dict[str, list[float]] = {}
    for row in scores.select(["prompt_id", "attribute", "value", "status"]).to_pylist():
        if row["attribute"] == "toxicity" and row["status"] == OK:
            values.setdefault(row["prompt_id"], []).append(row["value"])
    return PromptScores({prompt: float(np.mean(v)) for prompt, v in values.items()}, sum(map(len, values.values())))


def correlation_rows(
    parent: str,
    predictors: pa.Table,
    before: Mapping[str, PromptScores],
    after: Mapping[str, PromptScores],
    resampling: Resampling,
) -> pa.Table:
    """Return the rows of CORRELATIONS of one tuned model: every predictor with every target, by both methods.

    Holm's correction is over all predictors and targets of a method, since the report picks the clearest of them.

    Args:
        parent: the parent's name.
        predictors: the parent's PREDICTORS.
        before: language -> scores of the parent.
        after: language -> scores of the tuned model.
        resampling: how prompts are resampled; its seed also permutes languages.
    """
    languages = [language for language in before if language != ENGLISH and language in after]
    of_language = {}
    for language in languages:
        prompts = sorted(before[language].means.keys() & after[language].means.keys())
        if prompts:
            of_parent, of_model = before[language], after[language]
            parent_means = np.array([of_parent.means[prompt] for prompt in prompts])
            model_means = np.array([of_model.means[prompt] for prompt in prompts])
            completions = min(of_parent.completions, of_model.completions)
            of_language[language] = falls(parent_means, model_means, completions, language, resampling)
    languages = list(of_language)
    values: dict[str, dict[str, float]] = {}
    for row in predictors.to_pylist():
        if row["value"] is not None:
            values.setdefault(row["predictor"], {})[row["language"]] = row["value"]
    names = [name for name in values if name != BASELINE]
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        of_method: list[dict[str, Any]] = []
        for target in TARGETS:
            y = np.array([of_language[language][target].value for language in languages])
            draws = [of_language[language][target].draws for language in languages]
            level = np.array([[of_language[language][target].before] for language in languages])
            bounded = np.array([of_language[language][target].bounded for language in languages], dtype=bool)
            for name in names:
                correlation = correlate(
                    np.array([values[name].get(language, np.nan) for language in languages]),
                    y,
                    method,
                    resampling.seed,
                    targets_RL=np.stack(draws, axis=1) if draws else None,
                    controls_LC=level if draws else None,
                    bounded_L=bounded,
                    resamples=resampling.resamples,
                    confidence=resampling.confidence,
                )
                head = {"parent": parent, "target": target, "method": method, "predictor": name}
                of_method.append({**head, **correlation._asdict()})
        corrected = holm([row["p_value"] for row in of_method])
        rows += [{**row, "p_corrected": p} for row, p in zip(of_method, corrected, strict=True)]
    return pa.Table.from_pylist(rows, schema=CORRELATIONS.columns)
