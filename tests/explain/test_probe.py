"""Probes find a direction that is there, and none if there is none; the reference probe is the reference trainer's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detox_ray.explain.probe import Method, ReferenceTraining, fit, shuffled, split
from detox_ray.explain.probing import SHUFFLES, LabelledStates, probe_rows
from detox_ray.measure.resampling import Resampling

TRAINING = ReferenceTraining(1e-2, 20, 10)
METHODS: list[Method] = ["logistic", "reference", "mean-difference"]


def states(texts: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random states (N, 16), of which toxic ones are shifted along the first axis."""
    rng = np.random.default_rng(seed)
    toxic = np.arange(texts) % 2 == 0
    drawn = rng.normal(size=(texts, 16)).astype(np.float32)
    drawn[toxic, 0] += shift
    return drawn, toxic


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_finds_the_direction_that_separates(method: Method) -> None:
    train, toxic = states(200, 4.0)
    probe = fit(method, train, toxic, 0, TRAINING)
    # The reference probe keeps a part of its random first weights.
    assert probe.weights[0] / np.linalg.norm(probe.weights) > (0.6 if method == "reference" else 0.9)
    held_out, truth = states(400, 4.0, seed=1)
    assert roc_auc_score(truth, probe.scores(held_out)) > (0.95 if method == "reference" else 0.98)


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_of_shuffled_labels_finds_nothing(method: Method) -> None:
    train, toxic = states(200, 4.0)
    held_out, truth = states(400, 0.0, seed=1)
    probe = fit(method, train, shuffled(toxic, 0), 0, TRAINING)
    error = np.sqrt(1 / (12 * 200) * 2)  # of an AUROC of 200 against 200 by chance
    assert abs(roc_auc_score(truth, probe.scores(held_out)) - 0.5) < 3 * error


def test_the_reference_probe_is_the_reference_trainers() -> None:
    """Restated: a linear head without bias on the frozen model's mean state, a batch at a time."""
    train, toxic = states(95, 2.0)
    generator = torch.Generator().manual_seed(7)
    weight = torch.empty(16).uniform_(-0.25, 0.25, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    for _ in range(20):
        order = torch.randperm(95, generator=generator)
        for batch in order.split(10):  # the last batch has 5 texts, and counts
            probability = torch.sigmoid(torch.tensor(train)[batch] @ weight)
            label = torch.tensor(toxic, dtype=torch.float32)[batch]
            loss = -(label * probability.log() + (1 - label) * (1 - probability).log()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    probe = fit("reference", train, toxic, 7, TRAINING)
    np.testing.assert_allclose(probe.weights, weight.detach().numpy(), atol=1e-5)
    assert probe.bias == 0


def test_the_mean_difference_is_just_that() -> None:
    train, toxic = states(40, 1.0)
    expected = [
        np.mean([row[d] for row, is_toxic in zip(train, toxic, strict=True) if is_toxic])
        - np.mean([row[d] for row, is_toxic in zip(train, toxic, strict=True) if not is_toxic])
        for d in range(16)
    ]
    np.testing.assert_allclose(fit("mean-difference", train, toxic, 0, TRAINING).weights, expected, atol=1e-6)


def test_a_split_holds_every_text_once() -> None:
    parts = split(95, 0.1, 3)
    assert len(parts.validation) == 10
    assert sorted([*parts.train, *parts.validation]) == list(range(95))
    assert len(split(2, 0.01, 0).validation) == 1


def test_a_probe_is_not_tested_on_the_labelled_texts_that_trained_it() -> None:
    """Labels are random, so that only texts which the probe has seen look as if it knew them."""
    rng = np.random.default_rng(0)
    texts = LabelledStates(
        rng.normal(size=(80, 1, 64)).astype(np.float32), np.tile([False, True], 40), np.arange(80), np.full(80, 5)
    )

    def labelled(source: str, stored: np.ndarray | None = None) -> dict[str, dict]:
        rows = probe_rows(
            texts,
            {"en": texts, "de": texts},
            method="mean-difference",
            source=source,
            language="en",
            validation=0.25,
            seed=3,
            training=TRAINING,
            resampling=Resampling(0, 200, 0.95),
            stored=stored,
        )
        return {r["language"]: r for r in rows if (r["split"], r["control"]) == ("labelled", "none")}

    by_language = labelled("labelled")
    assert (by_language["en"]["n"], by_language["de"]["n"]) == (20, 80)
    parts = split(80, 0.25, 3)
    states, toxic = texts.states[:, 0].astype(np.float64), texts.toxic
    seen, seen_toxic = states[parts.train], toxic[parts.train]
    scores = states @ (seen[seen_toxic].mean(0) - seen[~seen_toxic].mean(0))

    def auroc(places: np.ndarray) -> float:
        above, below = scores[places][toxic[places]], scores[places][~toxic[places]]
        return float(np.mean(above[:, None] > below))

    assert by_language["de"]["auroc"] == pytest.approx(auroc(np.arange(80)), abs=1e-6)
    assert by_language["en"]["auroc"] == pytest.approx(auroc(parts.validation), abs=1e-6)
    assert auroc(parts.train) > auroc(parts.validation) + 0.2, "the texts that trained it betray it"
    assert labelled("pairs")["en"]["n"] == 80, "no labelled text trained it"
    assert labelled("labelled", np.ones(64))["en"]["n"] == 80, "nothing was trained"


def test_shuffled_labels_show_their_range_and_not_one_lucky_direction() -> None:
    """Classes along the axis of the largest spread: any direction separates them, one way round or the other."""
    rng = np.random.default_rng(0)
    toxic = np.tile([False, True], 150)
    points = rng.normal(size=(300, 1, 8)).astype(np.float32)
    points[:, 0, 0] += 8 * toxic
    texts = LabelledStates(points, toxic, np.arange(300), np.full(300, 5))
    rows = probe_rows(
        texts,
        {"de": texts},
        method="mean-difference",
        source="pairs",
        language="en",
        validation=0.1,
        seed=3,
        training=TRAINING,
        resampling=Resampling(0, 200, 0.95),
    )
    (control,) = [row for row in rows if (row["control"], row["split"]) == ("shuffled", "labelled")]
    train = split(300, 0.1, 3).train
    aurocs = []
    for draw in range(SHUFFLES):
        labels = shuffled(toxic[train], 3, draw)
        direction = points[train, 0][labels].mean(0) - points[train, 0][~labels].mean(0)
        aurocs.append(roc_auc_score(toxic, points[:, 0] @ direction))
    assert control["auroc"] == pytest.approx(np.mean(aurocs), abs=1e-4)
    assert (control["ci_low"], control["ci_high"]) == pytest.approx(
        tuple(np.quantile(aurocs, (0.025, 0.975))), abs=1e-3
    )
    assert abs(control["auroc"] - 0.5) < 3 * np.std(aurocs) / SHUFFLES**0.5
    assert control["ci_low"] < 0.1 and control["ci_high"] > 0.9
