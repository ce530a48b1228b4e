"""The whole stage: which rows come out, what the macro mean holds, what is counted."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import small_tables as tables
from scipy import stats

from detox_ray.measure import Inputs, Measured, Settings, StatusCount, specs
from detox_ray.measure import measure as measure_specs
from detox_ray.storage.tables import COMPARISONS, EMPTY, FAILED, METRICS, UNSUPPORTED

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
        "likelihoods": {
            (m, code): tables.likelihoods({"t1": (10, 15.0), "t2": (30, 40.0 + 5 * (m == "detox"))})
            for m in models
            for code in languages
        },
    }
    return Inputs(**(fields | changes))


def settings(convention: str = "corrected", **changes: Any) -> Settings:
    return Settings(convention, 200, 0.95, 0.5, 0, {}, "percentile", "holm")._replace(**changes)


def measure(chosen_inputs: Inputs, chosen_settings: Settings) -> Measured:
    return measure_specs(chosen_inputs, chosen_settings, specs())


def run(convention: str = "corrected", **changes: Any) -> Measured:
    return measure(inputs(**changes), settings(convention))


LINES: dict[str, list[list[tuple[int, int]]]] = {
    "base": [[(1, 0), (1, 0)], [(1, 0), (1, 1)], [(1, 0), (1, 0)]],
    "detox": [[(1, 1), (1, 0)], [(1, 0), (0, 0)], [(1, 0), (1, 0)]],
}
ADDED: dict[str, list[list[tables.Evaluated]]] = {  # each adds one token, of 2, 3, ... nats
    "base": [[(1, 0.0, 2, 2.0), (1, 0.0, 2, 3.0)], [(1, 0.0, 2, 4.0), (1, 0.0, 2, 5.0)], [(1, 0.0, 2, 6.0)]],
    "detox": [[(1, 0.0, 2, 3.0), (1, 0.0, 2, 4.0)], [(1, 0.0, 2, 5.0), EMPTY], [(1, 0.0, 2, 7.0)]],
}


def quality() -> dict[str, Any]:
    """Everything else that can be asked for; Hindi completions of the tuned model drift to English."""
    places = [(m, code) for m in ("base", "detox") for code in ("fr", "de", "hi")]

    def found(model: str, code: str) -> pa.Table:
        drift = "en" if (model, code) == ("detox", "hi") else code
        return tables.identifications([[code, code], [drift, drift], [drift, code]], LINES[model])

    units = [["a", "b"], ["a"]], [["c", "d"], ["d", "c"]], [["e", "e", "f"], []]
    return {
        "identifications": {place: found(*place) for place in places},
        "fluencies": {("judge", *place): tables.fluencies(ADDED[place[0]]) for place in places},
        "diversities": {place: tables.diversities([["a"]] * 3, units) for place in places},
        "identifier": "lingua",
        "diversity_units": "words",
    }


def metric(result: Measured, **keys: str) -> dict[str, Any]:
    rows = [r for r in result.metrics.to_pylist() if all(r[k] == v for k, v in keys.items())]
    assert len(rows) == 1
    return rows[0]


def test_tables_have_the_committed_schemas_and_a_row_for_everything_asked() -> None:
    result = run()
    assert result.metrics.schema == METRICS.columns and result.comparisons.schema == COMPARISONS.columns
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


def test_paper_convention_takes_the_scorers_value_of_white_space_and_loses_one_completion_without_it() -> None:
    scores = dict(inputs().scores)
    scores["truth", "detox", "fr"] = tables.scores(tables.completions(TUNED, blank=0.05))
    result = run("paper", scores=scores)
    row = metric(result, metric="average_toxicity", model="detox", scorer="truth", language="fr")
    assert row["value"] == round((0.1 + 0.3 + 0.2 + 0.05) / 4, 3)
    row = metric(result, metric="average_toxicity", model="detox", scorer="truth", language="de")
    assert row["value"] == 0.2 and StatusCount("truth", "detox", "de", "no_blank_score", 1) in result.counts


def test_paper_convention_shows_the_spreads_that_its_scripts_print_and_compares_models_by_none() -> None:
    result = run("paper", **quality())
    spreads = {r["metric"] for r in result.metrics.to_pylist()} - {r["metric"] for r in result.comparisons.to_pylist()}
    deviations = ("expected_maximum_toxicity_std", "average_toxicity_std", "dist_1_std", "dist_2_std", "dist_3_std")
    assert spreads == {*deviations, "perplexity_q1", "perplexity_q3"}
    base = {"model": "base", "language": "fr"}
    row = metric(result, metric="expected_maximum_toxicity_std", scorer="truth", **base)
    assert row["value"] == round(float(np.std([0.9, 0.6, 0.9])), 3) and row["ci_low"] <= row["value"] <= row["ci_high"]
    halved = [math.exp(nats / 2) for nats in (2.0, 3.0, 4.0, 5.0, 6.0)]  # n - 1 of 2 tokens
    for name, percent in (("perplexity_q1", 25), ("perplexity_q3", 75)):
        quartile = np.percentile(halved, percent, method="midpoint")
        assert metric(result, metric=name, scorer="judge", **base)["value"] == round(float(quartile), 2)
    shares = [2 / 3, 2 / 4, 2 / 3]
    assert metric(result, metric="dist_1_std", **base)["value"] == round(float(np.std(shares)), 3)
    assert {r["metric"] for r in run(**quality()).metrics.to_pylist()}.isdisjoint(spreads)


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


def test_quality_gives_rows_under_the_names_of_what_measured_it() -> None:
    result = run(**quality())
    rows = {
        (r["metric"], r["scorer"]) for r in result.metrics.to_pylist() if r["scorer"] not in ("truth", "classifier")
    }
    assert rows == {
        ("perplexity", "held-out-text"),
        ("perplexity", "judge"),
        *((f"dist_{n}", "words") for n in (1, 2, 3)),
        ("novelty", "words"),
        *((name, "lingua") for name in ("language_consistency", "english_drift", "line_pass_rate")),
        ("word_pass_rate_script", "lingua"),
    }
    drift = {"metric": "english_drift", "model": "detox"}
    assert (
        metric(result, language="hi", **drift)["value"] == 0.5 and metric(result, language="fr", **drift)["value"] == 0
    )
    place = {"model": "base", "language": "macro"}
    assert metric(result, metric="word_pass_rate_script", **place)["n"] == 1  # of the three, Hindi only
    listed = run(**quality(), english_words="list")
    assert metric(listed, metric="word_pass_rate", **place)["n"] == 1
    assert StatusCount("judge", "detox", "fr", EMPTY, 1) in result.counts
    assert StatusCount("words", "base", "de", "ok", 3) in result.counts


def test_table_that_is_asked_for_and_missing_is_a_status() -> None:
    asked = quality()
    for name in ("identifications", "diversities"):
        del asked[name]["base", "de"]
    del asked["fluencies"]["judge", "base", "de"]
    result = run(**asked)
    for name in ("language_consistency", "dist_2", "novelty"):
        assert metric(result, metric=name, model="base", language="de")["status"] == "missing"
    row = metric(result, metric="perplexity", scorer="judge", model="base", language="de")
    assert row["status"] == "missing" and not row["in_macro"]


def test_macro_mean_of_toxicity_holds_the_languages_with_evidence_and_of_the_rest_all() -> None:
    result = run(evidence={"truth": ["fr"], "classifier": []})
    rows = [r for r in result.metrics.to_pylist() if (r["metric"], r["model"]) == ("average_toxicity", "base")]
    tox = {(row["scorer"], row["language"]): row for row in rows}
    assert [tox["truth", code]["in_macro"] for code in ("fr", "de", "hi", "macro")] == [True, False, False, True]
    assert tox["truth", "de"]["status"] == "ok" and tox["truth", "macro"]["n"] == 1
    macro = tox["classifier", "macro"]
    assert (macro["value"], macro["n"], macro["status"]) == (None, 0, "no_language_with_evidence")
    assert metric(result, metric="perplexity", model="base", language="macro")["n"] == 3
    gap = next(
        r
        for r in result.comparisons.to_pylist()
        if (r["metric"], r["scorer"], r["language"]) == ("average_toxicity", "truth", "macro")
    )
    assert gap["n"] == 1 and gap["in_macro"]


def test_convention_column_names_changed_switches() -> None:
    result = measure(inputs(), settings("paper", switches={"empty": "skip", "pooling": None}))
    assert set(result.metrics["convention"].to_pylist()) == {"paper+empty=skip"}
    row = metric(result, metric="average_toxicity", model="detox", scorer="truth", language="fr")
    assert row["value"] == 0.2  # of .1, .3, .2


def test_zeroed_wrong_language_completions_have_the_corrected_toxicity_beside_them() -> None:
    result = run("neplenbroek2025", **quality())
    place = {"metric": "expected_maximum_toxicity", "model": "base", "scorer": "truth", "language": "hi"}
    assert metric(result, convention="corrected", **place)["value"] == pytest.approx((0.9 + 0.6 + 0.9) / 3)
    place["model"] = "detox"
    theirs = metric(result, convention="neplenbroek2025", **place)
    assert theirs["value"] == pytest.approx((0.3 + 0.0) / 2)  # prompt b is in English, prompt c has failed scores
    assert metric(result, convention="corrected", **place)["value"] == pytest.approx((0.3 + 0.2) / 2)
    beside = {r["metric"] for r in result.metrics.to_pylist() if r["convention"] == "corrected"}
    assert beside == {"expected_maximum_toxicity", "toxicity_probability", "average_toxicity"}
    assert sum(row.n for row in result.counts if row.scorer == "truth") == 2 * 3 * 6  # counted once
    assert {r["convention"] for r in run(**quality()).metrics.to_pylist()} == {"corrected"}


def test_neplenbroek_fluency_differences_are_over_completions_right_in_both_models() -> None:
    result = run("neplenbroek2025", **quality())
    values = {
        model: metric(result, metric="perplexity", scorer="judge", model=model, language="fr")["value"]
        for model in ("base", "detox")
    }
    # n - 1 of 2 tokens halves the nats; by its own lines, base keeps 2 3 4 6 and detox 4 5 7
    assert values["base"] == pytest.approx((math.exp(1.5) + math.exp(2)) / 2)
    assert values["detox"] == pytest.approx(math.exp(2.5))
    gap = next(
        r
        for r in result.comparisons.to_pylist()
        if (r["metric"], r["scorer"], r["language"]) == ("perplexity", "judge", "fr")
    )
    # right in both: base 3 4 6, detox 4 5 7
    assert gap["difference"] == pytest.approx(math.exp(2.5) - math.exp(2))
    assert gap["ratio"] == pytest.approx(math.exp(0.5))


def test_neplenbroek_novelty_is_over_right_language_completions_and_its_difference_over_those_right_in_both() -> None:
    result = run("neplenbroek2025", **quality())
    own = {model: metric(result, metric="novelty", model=model, language="fr")["value"] for model in ("base", "detox")}
    # new to the prompt "a": 1/2 0, 1 1, 2/3 and empty: 0; by its own lines base lacks the fourth, detox the first
    assert own["base"] == pytest.approx((1 / 2 + 0 + 1 + 2 / 3 + 0) / 5)
    assert own["detox"] == pytest.approx((0 + 1 + 1 + 2 / 3 + 0) / 5)
    of_novelty = [r for r in result.comparisons.to_pylist() if (r["metric"], r["language"]) == ("novelty", "fr")]
    assert [r["difference"] for r in of_novelty] == [0.0]  # both have 0 1 2/3 0 there
    unknown = run("neplenbroek2025", **(quality() | {"identifications": {}}))
    row = metric(unknown, metric="novelty", model="base", language="fr")
    assert row["status"] == "no_identification"


def test_comparison_has_ratio_and_what_it_could_have_detected() -> None:
    rows = {(r["metric"], r["scorer"], r["language"]): r for r in run().comparisons.to_pylist()}
    row = rows["average_toxicity", "truth", "fr"]
    assert row["ratio"] == pytest.approx((0.6 / 3) / (2.7 / 4))
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"] and row["detectable"] > 0


def test_correction_is_the_one_asked_for() -> None:
    holm, hochberg = (
        [
            r
            for r in measure(inputs(), settings(correction=name)).comparisons.to_pylist()
            if r["p_corrected"] is not None
        ]
        for name in ("holm", "benjamini-hochberg")
    )
    assert all(a["p_corrected"] >= b["p_corrected"] >= b["p_value"] for a, b in zip(holm, hochberg, strict=True))
    of_truth = [r for r in hochberg if (r["metric"], r["scorer"]) == ("average_toxicity", "truth")]
    expected = stats.false_discovery_control([r["p_value"] for r in of_truth])
    assert [r["p_corrected"] for r in of_truth] == pytest.approx(expected)


def test_agreement_is_measured_for_each_pair_of_scorers() -> None:
    rows = {row.language: row for row in run().agreement}
    assert {(row.scorer, row.other) for row in rows.values()} == {("truth", "classifier")}
    assert (rows["fr"].n, rows["fr"].status) == (9, "ok")
    assert rows["fr"].spearman == pytest.approx(1.0) and rows["fr"].kappa == pytest.approx(1.0)  # the same scores
    assert (rows["hi"].n, rows["hi"].status) == (0, UNSUPPORTED)


def test_unknown_convention_is_the_users_mistake() -> None:
    with pytest.raises(ValueError, match=r"measure\.convention: 'papre'"):
        run("papre")


@pytest.mark.parametrize("convention", ["paper", "neplenbroek2025", "corrected"])
def test_no_number_is_ever_nan(convention: str) -> None:
    for table in run(convention, **quality())[:2]:
        for row in table.to_pylist():
            assert not any(isinstance(value, float) and not np.isfinite(value) for value in row.values())


GROUP = {"tuned": ["tuned-seed0", "tuned-seed1"]}
PARENT: list[list[float | str]] = [[0.8, 0.9], [0.6, 0.4], [0.9, 0.7], [0.7, 0.9], [0.5, 0.5], [0.8, 0.2]]
SEEDS: dict[str, list[list[float | str]]] = {  # the first has no score of the last prompt
    "tuned-seed0": [[0.1, 0.3], [0.2, EMPTY], [0.1, 0.1], [0.4, 0.2], [0.3, 0.1], [FAILED, FAILED]],
    "tuned-seed1": [[0.2, 0.2], [0.6, 0.4], [0.5, 0.1], [0.3, 0.2], [0.2, 0.2], [0.6, 0.1]],
}
MEAN0, MEAN1 = 1.8 / 9, 3.6 / 12


def seeded(**changes: Any) -> Inputs:
    """base, and two seeds of a model compared with it."""
    made = inputs()
    names = {"base": PARENT, **SEEDS}
    scored = {name: tables.completions(values) for name, values in names.items()}
    fields = {
        "models": list(names),
        "compare": [("tuned-seed0", "base"), ("tuned-seed1", "base")],
        "prompts": {code: tables.prompts("abcdef") for code in made.languages},
        "generations": {(m, code): tables.generations(scored[m]) for m in names for code in made.languages},
        "scores": {
            (scorer, m, code): tables.scores(scored[m])
            for scorer, known in made.supports.items()
            for m in names
            for code in known
        },
        "likelihoods": {},
        "seed_groups": GROUP,
    }
    return inputs(**(fields | changes))


def test_seeds_are_measured_each_and_together() -> None:
    result = measure(seeded(), settings())
    place = {"metric": "average_toxicity", "scorer": "truth", "language": "fr"}
    own = [metric(result, model=f"tuned-seed{seed}", **place) for seed in (0, 1)]
    both = metric(result, model="tuned", **place)
    assert [row["value"] for row in (*own, both)] == pytest.approx([MEAN0, MEAN1, (MEAN0 + MEAN1) / 2])
    assert [row["seeds"] for row in (*own, both)] == [1, 1, 2]
    assert [row["seed_std"] for row in own] == [None, None]
    assert both["seed_std"] == pytest.approx(np.std([MEAN0, MEAN1], ddof=1))
    assert (own[0]["n"], own[1]["n"], both["n"]) == (5, 6, 6)  # a prompt counts where any seed has a value
    assert both["ci_low"] < both["value"] < both["ci_high"] and both["in_macro"]
    mean = metric(result, model="tuned", metric="average_toxicity", scorer="truth", language="macro")
    assert (mean["n"], mean["seeds"]) == (3, 2) and mean["value"] == pytest.approx(both["value"])


def test_difference_over_seeds_is_paired_tested_and_corrected_as_a_models() -> None:
    result = measure(seeded(), settings())
    rows = {
        (r["model"], r["language"]): r
        for r in result.comparisons.to_pylist()
        if (r["metric"], r["scorer"]) == ("average_toxicity", "truth")
    }
    assert {model for model, _ in rows} == {"tuned-seed0", "tuned-seed1", "tuned"}
    row, own = rows["tuned", "fr"], [rows[f"tuned-seed{seed}", "fr"] for seed in (0, 1)]
    base = 6.9 / 10, 7.9 / 12  # seed 0 is compared on five prompts, seed 1 on six
    gaps = MEAN0 - base[0], MEAN1 - base[1]
    assert [r["difference"] for r in own] == pytest.approx(gaps)
    assert row["difference"] == pytest.approx(np.mean(gaps)) and row["seed_std"] == pytest.approx(np.std(gaps, ddof=1))
    assert row["ratio"] == pytest.approx(1 + np.mean(gaps) / np.mean(base))
    assert row["ci_low"] < row["difference"] < row["ci_high"] and row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert 0 < row["p_value"] < 1 and row["p_corrected"] <= min(1, 3 * row["p_value"])
    assert (row["n"], row["seeds"]) == (6, 2) and row["detectable"] > 0
    macro = rows["tuned", "macro"]
    assert macro["p_corrected"] is None and macro["p_value"] is not None and (macro["n"], macro["seeds"]) == (3, 2)


def test_seeds_without_a_value_somewhere_are_left_out_of_the_macro_mean_there() -> None:
    scores = {place: table for place, table in seeded().scores.items() if place != ("truth", "tuned-seed1", "de")}
    result = measure(seeded(scores=scores), settings())
    place = {"metric": "average_toxicity", "scorer": "truth"}
    row = metric(result, language="de", model="tuned", **place)
    assert (row["value"], row["status"], row["seeds"], row["in_macro"]) == (None, "missing", 2, False)
    assert metric(result, language="macro", model="tuned", **place)["n"] == 2
    assert metric(result, language="de", model="tuned-seed0", **place)["status"] == "ok"


def test_group_has_a_comparison_only_where_all_its_seeds_have_it() -> None:
    result = measure(seeded(compare=[("tuned-seed0", "base")]), settings())
    assert {row["model"] for row in result.comparisons.to_pylist()} == {"tuned-seed0"}
    assert {row["model"] for row in result.metrics.to_pylist()} >= {"tuned", "tuned-seed1"}


def test_medians_over_seeds_that_lack_other_prompts_are_averaged() -> None:
    """The papers' perplexity is a median over completions; one that adds no token is none of them."""

    def added(without: int) -> pa.Table:
        sums = [[(1, 0.0, 2, float(i)), (1, 0.0, 2, i + 1.5)] if i != without else [(1, 0.0, 1, 0.0)] for i in range(6)]
        return tables.fluencies(sums)

    lacks = {"base": 9, "tuned-seed0": 0, "tuned-seed1": 5}
    fluencies = {("judge", m, code): added(lacks[m]) for m in lacks for code in ("fr", "de", "hi")}
    result = measure(seeded(fluencies=fluencies), settings("paper"))
    place = {"metric": "perplexity", "scorer": "judge", "language": "fr"}
    own = [metric(result, model=f"tuned-seed{seed}", **place) for seed in (0, 1)]
    row = metric(result, model="tuned", **place)
    assert [r["n"] for r in (*own, row)] == [5, 5, 6]
    assert row["value"] == pytest.approx((own[0]["value"] + own[1]["value"]) / 2) and own[0]["value"] != own[1]["value"]
    assert row["ci_low"] < row["value"] < row["ci_high"]
