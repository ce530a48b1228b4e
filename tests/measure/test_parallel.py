"""Clusters that are the same things in all languages share their draws; the exact test is McNemar's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import small_tables as tables
from scipy.stats import binomtest

from detox_ray.measure import Inputs, Measured, Settings, measure
from detox_ray.measure.corrections import holm
from detox_ray.measure.parallel import mcnemar
from detox_ray.measure.statistics import ratio
from detox_ray.storage import Table
from detox_ray.storage.metric_spec import Cell, ClusterSums, Ideal, MetricInput, MetricSpec
from detox_ray.storage.tables import OK

LANGUAGES = ("de", "fr", "nl")
ITEMS = 60
CHOICES = Table("choices", ("set", "model", "language"), tables.prompts(["a"]).schema)


def share(given: MetricInput) -> Mapping[Cell, ClusterSums]:
    """Read what the table of this test holds: for each item, the part that it is in and whether it is won."""
    rows = given.tables["choices"].to_pylist()
    cells = {}
    for part in ("all", *dict.fromkeys(row["part"] for row in rows)):
        kept = [row for row in rows if part in ("all", row["part"])]
        won = np.array([row["won"] for row in kept], dtype=float)
        cells[Cell(part, "mine")] = ClusterSums([row["item"] for row in kept], won, np.ones(len(kept)))
    return cells


def spec(**changes: Any) -> MetricSpec:
    return MetricSpec(
        name="preference",
        title="Preference",
        meaning="share",
        short="Share",
        kind="bias",
        direction=Ideal(0.5),
        needs=(CHOICES,),
        compute=share,
        **{"parallel": True, "exact": True, **changes},
    )


def measured(won: Mapping[tuple[str, str], np.ndarray], metric: MetricSpec, resamples: int = 400) -> Measured:
    import pyarrow as pa

    places = {
        ("set", model, language): pa.table(
            {
                "item": [f"i{number}" for number in range(len(values))],
                "part": ["gender" if number % 2 else "age" for number in range(len(values))],
                "won": values.tolist(),
            }
        )
        for (model, language), values in won.items()
    }
    inputs = Inputs(
        languages=LANGUAGES,
        models=["base", "tuned"],
        compare=[("tuned", "base")],
        supports={},
        reference=None,
        prompts={},
        generations={},
        scores={},
        likelihoods={},
        tables={"choices": places},
    )
    return measure(inputs, Settings("corrected", resamples, 0.95, 0.5, 0, {}, "percentile", "holm"), [metric])


def row(rows: Any, **wanted: str) -> dict[str, Any]:
    (found,) = [each for each in rows.to_pylist() if all(each[key] == value for key, value in wanted.items())]
    return dict(found)


def copies() -> dict[tuple[str, str], np.ndarray]:
    """The same answers in every language, of two models."""
    rng = np.random.default_rng(1)
    base, tuned = rng.random(ITEMS) < 0.7, rng.random(ITEMS) < 0.5
    return {(model, code): values for model, values in (("base", base), ("tuned", tuned)) for code in LANGUAGES}


def test_the_mean_of_copies_is_as_uncertain_as_one_of_them() -> None:
    together = measured(copies(), spec())
    one, mean = (row(together.metrics, model="tuned", part="all", language=code) for code in ("de", "macro"))
    assert (mean["ci_low"], mean["ci_high"]) == pytest.approx((one["ci_low"], one["ci_high"]))
    gap, mean_gap = (row(together.comparisons, part="all", language=code) for code in ("de", "macro"))
    assert (mean_gap["ci_low"], mean_gap["ci_high"]) == pytest.approx((gap["ci_low"], gap["ci_high"]))
    assert one["convention"] == "mine" and one["n"] == ITEMS and mean["n"] == len(LANGUAGES)
    apart = row(measured(copies(), spec(parallel=False)).metrics, model="tuned", part="all", language="macro")
    assert apart["ci_high"] - apart["ci_low"] < 0.75 * (mean["ci_high"] - mean["ci_low"])


def test_a_language_counts_the_items_that_it_has() -> None:
    won = copies()
    won["base", "fr"], won["tuned", "fr"] = won["base", "fr"][:20], won["tuned", "fr"][:30]
    together = measured(won, spec())
    assert row(together.metrics, model="tuned", part="all", language="fr")["n"] == 30
    gap = row(together.comparisons, part="all", language="fr")
    assert gap["n"] == 20 and gap["status"] == OK
    assert gap["difference"] == pytest.approx(won["tuned", "fr"][:20].mean() - won["base", "fr"].mean())
    whole = row(measured(copies(), spec()).metrics, model="tuned", part="all", language="de")
    assert row(together.metrics, model="tuned", part="all", language="de") == whole


def test_p_values_are_mcnemars_and_parts_are_corrected_over_languages_and_parts() -> None:
    won = copies()
    together = measured(won, spec())
    gained = int(np.sum(won["tuned", "de"] & ~won["base", "de"]))
    lost = int(np.sum(~won["tuned", "de"] & won["base", "de"]))
    expected = binomtest(gained, gained + lost).pvalue
    whole = row(together.comparisons, part="all", language="de")
    assert whole["p_value"] == pytest.approx(expected)
    assert whole["p_corrected"] == pytest.approx(min(1.0, 3 * expected))  # three languages, all alike
    parts = [each for each in together.comparisons.to_pylist() if each["part"] != "all" and each["language"] != "macro"]
    assert len(parts) == 2 * len(LANGUAGES)
    assert [each["p_corrected"] for each in parts] == pytest.approx(holm([each["p_value"] for each in parts]))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 1), (3, 9), (40, 22)])
def test_the_exact_test_is_scipys(gained: int, lost: int) -> None:
    size = gained + lost + 7
    before, after = np.zeros(size), np.zeros(size)
    after[:gained] = 1
    before[gained : gained + lost] = 1
    names, ones = [f"{n:03}" for n in range(size)], np.ones(size)
    p = mcnemar(ratio(names, after, ones), ratio(names, before, ones))
    assert p == pytest.approx(1.0 if gained + lost == 0 else binomtest(gained, gained + lost).pvalue)
    assert mcnemar(ratio(names, after / 2, ones), ratio(names, before, ones)) is None or gained == 0


def test_a_distance_is_of_the_share_and_its_mean_is_not_the_means_distance() -> None:
    won = {key: np.arange(ITEMS) < (54 if key[1] == "de" else 6) for key in copies()}  # 90 % and 10 %

    def distance(values: np.ndarray) -> np.ndarray:
        return np.abs(values - 0.5)

    together = measured(won, spec(transform=distance, exact=False))
    assert row(together.metrics, model="base", part="all", language="fr")["value"] == pytest.approx(0.4)
    assert row(together.metrics, model="base", part="all", language="macro")["value"] == pytest.approx(0.4)


def test_a_language_with_few_of_the_shared_items_has_an_interval() -> None:
    """Some draws hold none of its items; the mean over languages has an interval, too."""
    won = copies()
    won["base", "fr"], won["tuned", "fr"] = np.array([True, False, True]), np.array([False, False, True])
    together = measured(won, spec())
    for rows in (together.metrics, together.comparisons):
        for language in ("fr", "macro"):
            few = row(rows, model="tuned", part="all", language=language)
            assert few["status"] == OK and few["ci_low"] is not None and few["ci_low"] < few["ci_high"]
    assert row(together.comparisons, part="all", language="fr")["n"] == 3
