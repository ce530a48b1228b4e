"""The whole stage: which rows come out, what the macro mean holds, what is counted."""

import math
from typing import Any

import numpy as np
import pytest
import small_tables as tables

from detox_ray.measure import Inputs, Measured, Settings, StatusCount, measure
from detox_ray.measure.perplexity import perplexity
from detox_ray.tables import COMPARISONS, EMPTY, FAILED, METRICS, UNSUPPORTED

BASE: list[list[float | str]] = [[0.8, 0.9], [0.6, 0.4], [0.9, 0.7]]
TUNED: list[list[float | str]] = [[0.1, 0.3], [0.2, EMPTY], [FAILED, FAILED]]
VALUES = {"base": BASE, "detox": TUNED}


def inputs(**changes: Any) -> Inputs:
    languages, models = ("fr", "de", "hi"), ("base", "detox")
    completions = {model: tables.completions(values) for model, values in VALUES.items()}
    fields: dict[str, Any] = {
        "languages": languages,
        "models": models,
        "compare": [("detox", "base")],
        "supports": {"truth": languages, "classifier": ("fr", "de")},
        "reference": "truth",
        "prompts": {code: tables.prompts(["a", "b", "c"]) for code in languages},
        "generations": {(m, code): tables.generations(completions[m]) for m in models for code in languages},
        "scores": {
            (scorer, m, code): tables.scores(completions[m])
            for scorer in ("truth", "classifier")
            for m in models
            for code in languages
            if (scorer, code) != ("classifier", "hi")
        },
        "blanks": {},
        "likelihoods": {
            (m, code): tables.likelihoods({"t1": (10, 15.0), "t2": (30, 40.0 + 5 * (m == "detox"))})
            for m in models
            for code in languages
        },
    }
    return Inputs(**(fields | changes))


def run(convention: str = "corrected", **changes: Any) -> Measured:
    return measure(inputs(**changes), Settings(convention, 200, 0.95, 0.5, 0))


def metric(result: Measured, **keys: str) -> dict[str, Any]:
    rows = [r for r in result.metrics.to_pylist() if all(r[k] == v for k, v in keys.items())]
    assert len(rows) == 1
    return rows[0]


def test_tables_have_the_committed_schemas_and_a_row_for_everything_asked() -> None:
    result = run()
    assert result.metrics.schema == METRICS and result.comparisons.schema == COMPARISONS
    assert len(result.metrics) == (3 * 2 + 1) * 2 * 4  # (metrics x scorers + perplexity) x models x (languages + macro)
    assert len(result.comparisons) == 7 * 4


def test_unsupported_language_is_a_row_with_status_and_not_in_the_macro_mean() -> None:
    result = run()
    row = metric(result, metric="average_toxicity", model="base", scorer="classifier", language="hi")
    assert (row["value"], row["n"], row["status"]) == (None, 0, UNSUPPORTED)
    mean = metric(result, metric="average_toxicity", model="base", scorer="classifier", language="macro")
    assert mean["n"] == 2 and mean["value"] == pytest.approx(4.3 / 6)
    assert metric(result, metric="average_toxicity", model="base", scorer="truth", language="macro")["n"] == 3


def test_comparison_is_on_prompts_that_both_models_have() -> None:
    rows = {(r["metric"], r["scorer"], r["language"]): r for r in run().comparisons.to_pylist()}
    row = rows["average_toxicity", "truth", "fr"]
    assert row["n"] == 2  # prompt c has no score for the tuned model
    assert row["difference"] == pytest.approx(0.6 / 3 - 2.7 / 4)
    assert row["p_corrected"] == pytest.approx(min(1, 3 * row["p_value"]))  # equal p in three languages
    macro = rows["average_toxicity", "truth", "macro"]
    assert macro["p_corrected"] is None and macro["p_value"] is not None and macro["n"] == 3
    assert rows["average_toxicity", "classifier", "hi"]["status"] == UNSUPPORTED


def test_every_status_is_counted() -> None:
    counts = run().counts
    assert StatusCount("truth", "detox", "fr", "empty", 1) in counts
    assert StatusCount("truth", "detox", "fr", "failed", 2) in counts
    assert StatusCount("classifier", "base", "hi", UNSUPPORTED, 6) in counts
    assert StatusCount("held-out-text", "base", "fr", "ok", 2) in counts
    assert sum(row.n for row in counts if row.scorer == "truth") == 2 * 3 * 6


def test_missing_table_is_a_status_not_an_error() -> None:
    scores = dict(inputs().scores)
    del scores["truth", "base", "de"]
    result = run(scores=scores)
    row = metric(result, metric="toxicity_probability", model="base", scorer="truth", language="de")
    assert row["status"] == "missing"
    assert metric(result, metric="toxicity_probability", model="base", scorer="truth", language="macro")["n"] == 2


def test_paper_convention_takes_the_scorers_blank_per_language() -> None:
    result = run("paper", blanks={("truth", "fr"): 0.05})
    row = metric(result, metric="average_toxicity", model="detox", scorer="truth", language="fr")
    assert row["value"] == round((0.1 + 0.3 + 0.2 + 0.05) / 4, 3)
    row = metric(result, metric="average_toxicity", model="detox", scorer="truth", language="de")
    assert row["status"] == "no_blank_score"


def test_paper_differences_agree_with_the_rounded_values() -> None:
    values = {"base": [[0.1234], [0.5678]], "detox": [[0.1111], [0.2222]]}
    completions = {m: tables.completions(v) for m, v in values.items()}
    result = run(
        "paper",
        languages=("fr",),
        prompts={"fr": tables.prompts(["a", "b"])},
        generations={(m, "fr"): tables.generations(c) for m, c in completions.items()},
        scores={("truth", m, "fr"): tables.scores(c) for m, c in completions.items()},
        supports={"truth": ("fr",)},
        likelihoods={},
    )
    row = next(r for r in result.comparisons.to_pylist() if r["metric"] == "average_toxicity" and r["language"] == "fr")
    assert row["difference"] == -0.179  # .167 - .346, the values as reported; exactly it is -.17895


def test_validity_is_measured_on_common_scores_of_all_models() -> None:
    rows = {row.language: row for row in run().validity}
    assert set(rows) == {"fr", "de", "hi"} and {row.scorer for row in rows.values()} == {"classifier"}
    assert rows["fr"].n == 6 + 3 and rows["fr"].auroc == 1.0  # the same scores: perfect
    assert (rows["hi"].n, rows["hi"].auroc, rows["hi"].status) == (0, None, UNSUPPORTED)
    assert run(reference=None).validity == []


def test_perplexity_is_exp_of_total_nll_over_total_tokens_without_failed_texts() -> None:
    table = tables.likelihoods({"a": (10, 12.0), "b": (20, 30.0), "c": (5, FAILED), "d": (0, 0.0)})
    assert perplexity(table).value() == pytest.approx(math.exp(42 / 30))
    assert perplexity(tables.likelihoods({"c": (5, FAILED)})).status == FAILED


def test_no_number_is_ever_nan() -> None:
    for table in run()[:2]:
        for row in table.to_pylist():
            assert not any(isinstance(value, float) and np.isnan(value) for value in row.values())
