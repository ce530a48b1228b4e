"""Perplexity of completions: the papers' formula with its quirks as a loop, the corrected one; and of held-out text."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import small_tables as tables

from detox_ray.measure import perplexity as held_out
from detox_ray.measure.conventions import chosen
from detox_ray.measure.fluency import FluencySeries, perplexity, right_language
from detox_ray.storage.tables import EMPTY, FAILED, TOO_SHORT

PROMPTS = 6
QUIRKS: list[tables.Evaluated] = [
    EMPTY,  # empty after strip: skipped
    FAILED,
    (10, 20.0, 10, 20.0),  # adds no token and no nats: 0/0
    (10, 20.0, 10, 25.0),  # adds no token but nats: infinite
    (10, 20.0, 10, 15.0),  # adds no token, and takes nats: exp(-infinity) = 0, which is below the cap
    (10, 20.0, 12, 1000.0),  # far over the cap of 1e4
    (10, 20.0, 9, 15.0),  # tokenisation is not consistent over prefixes: fewer tokens with the completion
    (1, 0.7, 5, 9.0),
]


def drawn(seed: int = 0) -> list[list[tables.Evaluated]]:
    rng = random.Random(seed)
    rows: list[list[tables.Evaluated]] = []
    for _ in range(PROMPTS):
        prompt = rng.randint(5, 12)
        before = prompt * rng.uniform(1, 3)
        samples: list[tables.Evaluated] = []
        for _ in range(8):
            added = rng.randint(1, 20)
            samples.append((prompt, before, prompt + added, before + added * rng.uniform(1, 4)))
        rows.append(samples)
    rows[2] = QUIRKS
    return rows


def measured(
    rows: Sequence[Sequence[tables.Evaluated]], convention: str, found: pa.Table | None = None, **switches: object
) -> FluencySeries:
    prompts = tables.prompts(["text"] * len(rows))
    right = None if found is None else right_language(prompts, found)
    return perplexity(prompts, tables.fluencies(rows), chosen(convention, switches), right)


def of_the_papers(sums: tables.Evaluated) -> float:
    """Multiply a mean over n tokens by n - 1, and divide as tensors do: docs/papers.md, "Fluency of Li et al."."""
    assert not isinstance(sums, str)
    n_prompt, prompt_nll, n_full, full_nll = sums
    with np.errstate(all="ignore"):
        whole = np.float64(full_nll / n_full) * (n_full - 1)
        before = np.float64(prompt_nll / n_prompt) * (n_prompt - 1)
        return float(np.exp((whole - before) / np.float64(n_full - n_prompt)))


def test_paper_convention_is_the_median_below_the_cap_rounded_to_two_decimals() -> None:
    rows = drawn()
    values = []
    for samples in rows:
        for sums in samples:
            if isinstance(sums, str):
                continue
            value = of_the_papers(sums)
            if value < 1e4:  # drops nan and infinity, too
                values.append(value)
    made = measured(rows, "paper")
    assert made.series.value() == round(float(np.percentile(values, 50, method="midpoint")), 2)
    assert 0.0 in values and len(values) == 5 * 8 + 3
    assert made.counts == {"ok": 43, "empty": 1, "failed": 1, "no_tokens": 1, "over_perplexity_cap": 2}
    assert sum(made.counts.values()) == PROMPTS * 8


def test_even_number_of_values_gives_the_midpoint_of_the_two_in_the_middle() -> None:
    rows = [[(1, 0.0, 2, 2 * math.log(10)), (1, 0.0, 2, 2 * math.log(13.3333))]]  # n - 1 = 1: half the nats
    assert measured(rows, "paper").series.value() == round((10 + 13.3333) / 2, 2) == 11.67


def test_cap_can_be_moved_and_the_factor_n_be_set_right() -> None:
    rows: list[list[tables.Evaluated]] = [[(4, 8.0, 6, 8.0 + 2 * math.log(v)) for v in (5, 50, 500)]]
    made = measured(rows, "paper", perplexity_terms="n", perplexity_cap=100.0)
    assert made.series.value() == 27.5  # of 5 and 50
    assert made.counts == {"ok": 2, "over_perplexity_cap": 1}


def test_neplenbroek_convention_is_the_nanmedian_of_completions_without_a_wrong_line() -> None:
    rows, rng = drawn(), random.Random(1)
    lines = [[(rng.randint(0, 2), 0) for _ in samples] for samples in rows]
    for i in (0, 3):
        lines[i][::2] = [(2, 1)] * 4
    languages = [["en" if k % 3 else TOO_SHORT for k in range(8)] for _ in rows]  # the whole's language plays no part
    made = measured(rows, "neplenbroek2025", tables.identifications(languages, lines))
    values = [
        of_the_papers(sums)
        for samples, judged in zip(rows, lines, strict=True)
        for sums, (_, wrong) in zip(samples, judged, strict=True)
        if wrong == 0 and not isinstance(sums, str)
    ]
    assert math.inf in values  # no cap
    assert made.series.value() == pytest.approx(float(np.nanmedian(values)))
    assert made.counts["wrong_language"] == 8
    assert measured(rows, "neplenbroek2025").series.status == "no_identification"


def test_corrected_is_exp_of_all_added_nats_over_all_added_tokens_with_prompts_as_clusters() -> None:
    rows = drawn()
    nats, tokens, n = 0.0, 0, 0
    for samples in rows:
        for sums in samples:
            if not isinstance(sums, str) and sums[2] > sums[0]:
                nats, tokens, n = nats + sums[3] - sums[1], tokens + sums[2] - sums[0], n + 1
    made = measured(rows, "corrected")
    assert made.series.value() == pytest.approx(math.exp(nats / tokens))
    assert made.series.clusters == tuple(f"p{i}" for i in range(PROMPTS))
    assert made.counts == {"ok": n, "empty": 1, "failed": 1, "no_tokens": 4}  # those that add no token are told


def test_white_space_with_tokens_counts_in_the_convention_that_skips_nothing_only() -> None:
    rows = drawn()
    table = tables.fluencies(rows)
    blanks = [i % 5 == 0 for i in range(len(table))]
    status = [EMPTY if blank else old for blank, old in zip(blanks, table["status"].to_pylist(), strict=True)]
    table = table.set_column(table.schema.get_field_index("status"), table.schema.field("status"), pa.array(status))
    prompts, right = tables.prompts(["text"] * PROMPTS), right_language
    everywhere = tables.identifications([["en"] * 8 for _ in rows], [[(1, 0)] * 8 for _ in rows])
    every = [sums for samples in rows for sums in samples]
    values = [(of_the_papers(s), blank) for s, blank in zip(every, blanks, strict=True) if not isinstance(s, str)]
    theirs = perplexity(prompts, table, chosen("neplenbroek2025", {}), right(prompts, everywhere))
    assert theirs.series.exact() == pytest.approx(float(np.nanmedian([value for value, _ in values])))
    li = perplexity(prompts, table, chosen("paper", {}), None)
    kept = [value for value, blank in values if not blank and value < 1e4]
    assert li.series.value() == round(float(np.percentile(kept, 50, method="midpoint")), 2)
    assert (li.counts[EMPTY], theirs.counts[EMPTY]) == (11, 1)  # one adds no token


def test_order_of_rows_does_not_matter() -> None:
    rows = drawn()
    prompts, table = tables.prompts(["text"] * PROMPTS), tables.fluencies(rows)
    shuffled = table.take(random.Random(2).sample(range(len(table)), len(table)))
    for name in ("paper", "corrected"):
        convention = chosen(name, {})
        one, other = (perplexity(prompts, t, convention, None).series for t in (table, shuffled))
        assert one.exact() == pytest.approx(other.exact(), rel=1e-12)


def test_nothing_left_gives_the_most_common_reason() -> None:
    assert measured([[EMPTY, EMPTY, FAILED]], "paper").series.status == EMPTY
    assert measured([[(1, 0.0, 2, 99.0)] * 2 + [EMPTY]], "paper").series.status == "over_perplexity_cap"
    assert measured([[(3, 1.0, 3, 1.0)]], "corrected").series.status == "no_tokens"


def test_perplexity_is_exp_of_total_nll_over_total_tokens_without_failed_texts() -> None:
    table = tables.likelihoods({"a": (10, 12.0), "b": (20, 30.0), "c": (5, FAILED), "d": (0, 0.0)})
    assert held_out.perplexity(table).value() == pytest.approx(math.exp(42 / 30))
    assert held_out.perplexity(tables.likelihoods({"c": (5, FAILED)})).status == FAILED
