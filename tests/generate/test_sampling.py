"""The transformers engine's choice of tokens, against the definitions of temperature and nucleus."""

import numpy as np
import pytest
import torch

from detox_ray.generate.transformers_engine import choose, uniform_numbers

LOGITS = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])


def nucleus(temperature: float, top_p: float) -> np.ndarray:
    """Probabilities of the smallest set of the likeliest tokens that has at least ``top_p``, renormalised."""
    probability = np.exp(LOGITS.double().numpy() / temperature)
    probability /= probability.sum()
    kept, total = np.zeros_like(probability), 0.0
    for token in np.argsort(-probability):
        if total < top_p:
            kept[token] = probability[token]
        total += probability[token]
    return kept / kept.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.9, 0.8), (2.0, 0.95), (1.0, 0.01)])
def test_tokens_are_drawn_from_the_nucleus(temperature: float, top_p: float) -> None:
    draws = 20_001
    uniform = torch.linspace(0, 1 - 1e-6, draws)  # every quantile once, so that frequencies are probabilities
    tokens = choose(LOGITS.expand(draws, -1).clone(), uniform, temperature, top_p)
    frequency = np.bincount(tokens.numpy(), minlength=5) / draws
    assert frequency == pytest.approx(nucleus(temperature, top_p), abs=2e-4)


@pytest.mark.parametrize("seeds", [[5, 900], 5])
def test_random_numbers_of_samples_are_uniform_and_no_two_samples_share_them(seeds: list[int] | int) -> None:
    numbers = uniform_numbers(seeds, 2, 100, 50)
    assert numbers.shape == (2, 100, 50) and ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.02)
    assert len(numbers.flatten(0, 1).unique(dim=0)) == 200
    assert torch.equal(numbers, uniform_numbers(seeds, 2, 100, 50))


def test_temperature_zero_takes_the_likeliest() -> None:
    assert choose(LOGITS[None], torch.tensor([0.999]), 0.0, 0.5).tolist() == [0]


def test_a_uniform_at_the_very_end_stays_in_the_nucleus() -> None:
    assert choose(LOGITS[None], torch.tensor([1.0]), 1.0, 0.8).item() in np.flatnonzero(nucleus(1.0, 0.8))
