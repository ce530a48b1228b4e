"""Calibration maps: against scikit-learn and SciPy, cross-validated by cluster, refused where they would be made up."""

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import optimize

from detox_ray.config import InputError
from detox_ray.data.calibration import Calibration, Isotonic, Platt
from detox_ray.measure.calibration import CalibrationSample, Method, fit, labels_sample, scores_sample
from detox_ray.storage.tables import LABELLED, LABELLED_SCORES


def sample(n: int, seed: int = 0, clusters: int | None = None) -> CalibrationSample:
    """A scorer that exaggerates: the chance of toxic is value squared."""
    rng = np.random.default_rng(seed)
    values = rng.random(n)
    toxic = (rng.random(n) < values**2).astype(float)
    return CalibrationSample(values, toxic, np.arange(n) % (clusters or n))


def fitted(samples: dict[str, CalibrationSample], method: Method, minimum: int = 5) -> Calibration:
    return fit(samples, scorer="s", identity="i1", reference="human: x", method=method, minimum=minimum, seed=0)


def map_of(made: CalibrationSample, method: Method) -> Any:
    return fitted({"fr": made}, method).languages["fr"]


def test_isotonic_is_scipys_regression_at_every_value_it_was_fitted_to() -> None:
    made = sample(300)
    order = np.argsort(made.values)
    expected = optimize.isotonic_regression(made.targets[order]).x
    assert map_of(made, "isotonic").apply(made.values[order]) == pytest.approx(expected)


def test_isotonic_by_hand_pools_what_falls_and_is_level_outside() -> None:
    values, targets = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.0, 1.0, 0.0, 1.0])
    made = fitted({"fr": CalibrationSample(values, targets, np.arange(4))}, "isotonic", minimum=2)
    applied = made.apply(np.array([0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]), "fr")
    assert applied == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.75, 1, 1])


def test_platt_minimises_the_cross_entropy_to_platts_targets() -> None:
    made = sample(200)
    toxic = made.targets.sum()
    smooth = np.where(made.targets == 1, (toxic + 1) / (toxic + 2), 1 / (200 - toxic + 2))
    z = np.log(made.values / (1 - made.values))

    def loss(parameters: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-(parameters[0] * z + parameters[1])))
        return -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).sum()

    expected = optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
    found = map_of(made, "platt")
    assert (found.slope, found.intercept) == pytest.approx(tuple(expected), abs=1e-4)


def test_platt_of_a_lexicons_zeros_and_ones_stays_finite_and_off_certainty() -> None:
    hits = np.repeat([0.0, 1.0], 30)
    mapped = fitted({"fr": CalibrationSample(hits, hits, np.arange(60))}, "platt").apply(np.array([0.0, 1.0]), "fr")
    assert mapped == pytest.approx([1 / 32, 31 / 32], abs=1e-6)  # Platt's targets: what 30 of 30 allow to say


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_maps_rise_within_0_and_1_and_lower_the_calibration_error_of_unseen_texts(method: Method) -> None:
    made = fitted({"fr": sample(2000)}, method)
    mapped = made.apply(np.linspace(0, 1, 101), "fr")
    assert np.all(np.diff(mapped) >= 0) and mapped[0] >= 0 and mapped[-1] <= 1
    found = made.languages["fr"]
    assert found.n == 2000
    assert found.error_before == pytest.approx(1 / 6, abs=0.02)  # mean of v - v²
    assert found.error_after is not None and found.error_after < 0.03


def test_texts_of_one_cluster_are_never_on_both_sides_of_a_fold() -> None:
    """Labels are a coin per value, with 40 texts of every value: by text, isotonic would learn the coins by heart."""
    rng = np.random.default_rng(0)
    coins = (rng.random(50) < 0.5).astype(float)
    values, targets = np.repeat(np.linspace(0, 1, 50), 40), np.repeat(coins, 40)
    together = map_of(CalibrationSample(values, targets, np.repeat(np.arange(50), 40)), "isotonic")
    apart = map_of(CalibrationSample(values, targets, np.arange(2000)), "isotonic")
    assert apart.error_after is not None and together.error_after is not None
    assert together.error_after > 2 * apart.error_after


def test_one_cluster_has_a_map_but_no_cross_validated_error() -> None:
    assert map_of(sample(100, clusters=1), "platt").error_after is None


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_languages_without_an_honest_map_are_refused_with_the_reason(method: Method) -> None:
    good = sample(400)
    reversed_ = good._replace(targets=1 - good.targets)
    empty = CalibrationSample(*(side[:0] for side in good))
    one_class = good._replace(targets=np.ones(400))
    made = fitted({"fr": good, "de": reversed_, "ar": empty, "it": one_class, "ja": sample(8)}, method)
    assert list(made.languages) == ["fr"]
    assert made.refused == {"de": "not_rising", "ar": "no_common_scores", "it": "too_few", "ja": "too_few"}
    with pytest.raises(KeyError):
        made.apply(np.array([0.5]), "de")


def test_a_target_between_0_and_1_is_a_mixture_of_both_classes() -> None:
    values = np.tile(np.linspace(0.05, 0.95, 10), 20)
    share = values * 0.8 + 0.1
    found = fitted({"fr": CalibrationSample(values, share, np.arange(200))}, "platt").apply(
        np.array([0.05, 0.5, 0.95]), "fr"
    )
    assert found == pytest.approx([0.14, 0.5, 0.86], abs=0.04)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_the_file_gives_back_the_same_map(method: Method) -> None:
    made = fitted({"fr": sample(300), "ja": sample(8)}, method)
    text = made.to_json()
    loaded = Calibration.load(text)
    assert loaded == made
    values = np.linspace(0, 1, 57)
    assert np.array_equal(loaded.apply(values, "fr"), made.apply(values, "fr"))
    content = json.loads(text)
    assert {name: content[name] for name in ("version", "scorer", "identity", "reference", "method")} == {
        "version": 2,
        "scorer": "s",
        "identity": "i1",
        "reference": "human: x",
        "method": method,
    }
    assert {"n", "x", "y"} <= set(content["languages"]["fr"]) or {"n", "slope", "intercept"} <= set(
        content["languages"]["fr"]
    )


def test_the_shortest_file_by_hand() -> None:
    maps = {"fr": {"n": 9, "x": [0, 1], "y": [0.5, 1]}, "de": {"n": 9, "slope": 1, "intercept": 0}}
    head = {"version": 2, "scorer": "s", "identity": "i", "reference": "perspective", "method": "platt"}
    made = Calibration.load(json.dumps(head | {"languages": maps}))
    assert isinstance(made.languages["fr"], Isotonic) and isinstance(made.languages["de"], Platt)
    assert made.apply(np.array([0.5]), "fr") == pytest.approx([0.75])
    assert made.apply(np.array([0.3, 0.9]), "de") == pytest.approx([0.3, 0.9])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1}, "version"),
        ({"method": "magic"}, "method"),
        ({"identity": None}, "identity"),
        ({"languages": {"fr": {"n": 3, "x": [0, 1], "y": [1, 0]}}}, "must not decrease"),
        ({"languages": {"fr": {"n": 3, "x": [0, 1], "y": [1]}}}, "same length"),
        ({"languages": {"fr": {"n": 3, "x": [0, 1], "y": [0, 2]}}}, "less than or equal to 1"),
        ({"languages": {"fr": {"n": 3, "slope": -1, "intercept": 0}}}, "slope"),
        ({"languages": {"fr": {}}}, "languages.fr.n: is required"),
        ({"languages": {"fr": 3}}, "languages.fr: must be a mapping"),
        ({"languages": []}, "languages: must be a mapping"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_with_what_is_wrong(change: dict[str, Any], said: str) -> None:
    head = {"version": 2, "scorer": "s", "identity": "i", "reference": "x", "method": "platt", "languages": {}}
    with pytest.raises(InputError, match=said) as refused:
        Calibration.load(json.dumps(head | change))
    field = re.compile(r"calibration [\w.]+: ")
    assert all(field.match(line) for line in str(refused.value).splitlines()), "no names of pydantic's branches"
    assert not re.search(r"isotonic\.|platt\.|Isotonic|Platt|function-", str(refused.value))
    for text in ("{", "[]", '{"version": NaN}'):
        with pytest.raises(InputError, match="calibration"):
            Calibration.load(text)


def test_maps_of_another_scorer_or_identity_are_refused() -> None:
    made = fitted({}, "platt")
    made.check("s", "i1")
    with pytest.raises(InputError, match="identity 'i1', not 'i2'"):
        made.check("s", "i2")
    with pytest.raises(InputError, match="scorer"):
        made.check("t", "i1")


def test_samples_join_labels_or_a_reference_scorer_and_leave_out_texts_without_a_value() -> None:
    common = {"kind": "text", "source": "x", "text": "t"}
    labelled = pa.Table.from_pylist(
        [{"text_id": str(i), "cluster": f"c{i}", "grade": i + 1, "toxic": i >= 2, **common} for i in range(5)],
        LABELLED.columns,
    )

    def scores(*values: float | None) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {
                    "text_id": str(i),
                    "attribute": "toxicity",
                    "value": value,
                    "status": "failed" if value is None else "ok",
                }
                for i, value in enumerate(values)
            ],
            LABELLED_SCORES.columns,
        )

    own, other = scores(0.1, None, 0.3, 0.4, 0.5), scores(0.9, 0.8, None, 0.6, 0.5)
    made = labels_sample(labelled, own)
    assert (made.values.tolist(), made.targets.tolist()) == ([0.1, 0.3, 0.4, 0.5], [0, 1, 1, 1])
    assert made.clusters.tolist() == ["c0", "c2", "c3", "c4"]
    made = scores_sample(labelled, own, other)
    assert (made.values.tolist(), made.targets.tolist()) == ([0.1, 0.4, 0.5], [0.9, 0.6, 0.5])
    assert len(labels_sample(labelled, None).values) == 0
