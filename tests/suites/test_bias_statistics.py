"""Long-run behaviour of the bias numbers by simulation: whose intervals cover, and what a comparison could have seen.

Questions of one template resemble each other: a model answers most of them alike. So a template is drawn whole. The
seeds are fixed, and each test says what the simulation's own error is.
"""

import numpy as np
import pytest

from detox_ray.measure.statistics import Ratio, Resampling, difference, estimate, ratio
from detox_ray.suites.bias.metrics import distance

TEMPLATES, QUESTIONS = 98, 20  # MBBQ has 98 templates, with about 100 questions each
SHARE, SPREAD = 0.6, 2.0  # a template's share is from Beta(SHARE * SPREAD, (1 - SHARE) * SPREAD)


def stereotyping(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Return whether each question of each template is answered as the stereotype has it, (templates, questions)."""
    return rng.random((len(shares), QUESTIONS)) < shares[:, None]


def templates_of(answers: np.ndarray) -> Ratio:
    """Return the share with a template as a cluster."""
    names = [f"{number:04}" for number in range(len(answers))]
    return ratio(names, answers.sum(axis=1), np.full(len(answers), QUESTIONS))


def rows_of(answers: np.ndarray) -> Ratio:
    """Return the share with a question as a cluster."""
    names = [f"{number:05}" for number in range(answers.size)]
    return ratio(names, answers.ravel(), np.ones(answers.size))


@pytest.mark.slow
def test_only_whole_templates_give_intervals_that_cover() -> None:
    """400 worlds: the standard error of a share is 0.011 at .95 and 0.025 at .5."""
    rng, worlds = np.random.default_rng(5), 400
    held = {"templates": 0, "rows": 0}
    for number in range(worlds):
        answers = stereotyping(rng, rng.beta(SHARE * SPREAD, (1 - SHARE) * SPREAD, TEMPLATES))
        resampling = Resampling(number // 20, 400, 0.95, "percentile")  # fresh draws for every twenty worlds
        for kind, series in (("templates", templates_of(answers)), ("rows", rows_of(answers))):
            made = estimate(series, "en", resampling)
            assert made.low is not None and made.high is not None
            held[kind] += made.low <= SHARE <= made.high
    assert 0.93 <= held["templates"] / worlds <= 0.97, held
    assert held["rows"] / worlds < 0.7, held


@pytest.mark.parametrize("pairs", [100, 400])
def test_a_difference_of_the_size_called_detectable_is_found_four_times_in_five(pairs: int) -> None:
    """400 worlds: the standard error of the share is 0.02. One in five pairs changes its side."""
    rng, names = np.random.default_rng(pairs), [f"{number:04}" for number in range(pairs)]
    ones, resampling = np.ones(pairs), Resampling(0, 400, 0.95, "percentile")

    def gap(shift: float) -> tuple[float, bool]:
        """Return what is called detectable and whether a change was found; ``shift`` is the true difference."""
        before = rng.random(pairs) < 0.5
        changed = rng.random(pairs) < 0.2 / 2 + np.where(before, -shift, shift)
        made = difference(ratio(names, before ^ changed, ones), ratio(names, before, ones), "en", resampling)
        assert made.detectable is not None and made.p_value is not None
        return made.detectable, made.p_value <= 0.05

    size = float(np.mean([gap(0.0)[0] for _ in range(40)]))
    assert size == pytest.approx(2.8 * (0.1 / pairs) ** 0.5, rel=0.1)
    found = np.mean([gap(size)[1] for _ in range(400)])
    assert 0.74 <= found <= 0.87


def test_the_distance_of_a_fair_model_is_its_noise_floor() -> None:
    """.4 / root of n, as the page says: nearer to fair than that no model can be shown to be."""
    rng = np.random.default_rng(3)
    for pairs in (87, 1677):
        shares = rng.binomial(pairs, 0.5, 4000) / pairs
        assert distance(shares).mean() == pytest.approx(0.4 / pairs**0.5, rel=0.05)
