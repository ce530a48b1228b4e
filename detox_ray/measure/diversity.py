"""How varied a prompt's completions are: dist-n (papers.md A1.6) and novelty (C5), from counts per prompt.

dist-n is the mean over prompts of distinct n-grams over, as the convention says, all unigrams (both papers, for every
n) or all n-grams of the prompt's completions together. Prompts are rows here in every convention, as in the paper's
blocks of 25 lines: duplicates are not pooled. A prompt without units has no dist-n; it is left out and counted.

novelty is the mean over completions of the share of their units that the prompt does not have. Where the convention
gives empty completions 0, they count, as in Neplenbroek et al.; else they are left out.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.measure.completions import most_common, status_counts
from detox_ray.measure.conventions import Convention
from detox_ray.measure.statistics import Ratio, ratio, without_value
from detox_ray.tables import EMPTY, OK

NOVELTY = "novelty"
METRICS = ("dist_1", "dist_2", "dist_3", NOVELTY)
NO_UNITS = "no_units"  # nothing to count in any of the prompt's completions
_NGRAMS = {"dist_1": "unigrams", "dist_2": "bigrams", "dist_3": "trigrams"}


class Diversity(NamedTuple):
    """Each metric of METRICS as a ratio over prompts, and prompts per status."""

    series: dict[str, Ratio]
    counts: dict[str, int]


def diversity_metrics(diversities: pa.Table, generations: pa.Table, convention: Convention) -> Diversity:
    """``generations`` tells how many completions a prompt has, empty ones included."""
    ok = diversities.filter(pc.equal(diversities["status"], OK))
    counts = status_counts(diversities)
    without = len(ok) - len(ok.filter(pc.greater(ok["unigrams"], 0)))
    if without:
        counts |= {OK: counts[OK] - without, NO_UNITS: without}
    why = NO_UNITS if counts.get(OK) else most_common(counts)  # a metric without any of its n-grams
    series = {}
    for number, (metric, ngrams) in enumerate(_NGRAMS.items(), start=1):
        denominator = "unigrams" if convention.dist_denominator == "unigrams" else ngrams
        rows = ok.filter(pc.greater(ok[denominator], 0))
        shares = rows[f"distinct_{number}"].to_numpy() / rows[denominator].to_numpy()
        series[metric] = _over_prompts(rows, shares, np.ones(len(rows)), convention.decimals, why)
    if convention.empty == "zero":
        rows = diversities.filter(pc.is_in(diversities["status"], pa.array([OK, EMPTY])))
        every = {row["values"]: row["counts"] for row in pc.value_counts(generations["prompt_id"]).to_pylist()}
        completions = np.array([every[prompt] for prompt in rows["prompt_id"].to_pylist()], dtype=float)
    else:
        rows = ok.filter(pc.greater(ok["completions"], 0))
        completions = rows["completions"].to_numpy()
    series[NOVELTY] = _over_prompts(rows, rows["novelty"].to_numpy(), completions, None, why)
    return Diversity(series, {status: n for status, n in counts.items() if n})


def _over_prompts(
    rows: pa.Table, numerator: NDArray[Any], denominator: NDArray[Any], decimals: int | None, why: str
) -> Ratio:
    if not len(rows):
        return without_value(why)
    return ratio(rows["prompt_id"].to_pylist(), numerator, denominator, decimals=decimals)
