"""States before each MLP: what the family's norm reads, at a prompt's last token or at all positions with padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from readable_models import FAMILIES, causal_model, tiny_model

from detox_ray.explain.residual import BLOCK_INPUT, mean_states, shift_rows, state_rows
from detox_ray.models.mlp import Mlps

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 14]]


@pytest.mark.parametrize("family", FAMILIES)
def test_states_do_not_depend_on_the_batch(family: str) -> None:
    mlps = Mlps(tiny_model(family))
    together, alone = (mean_states(mlps, PROMPTS, 0, budget, "last") for budget in (1000, 1))
    assert together.shape == (2, mlps.value_vectors(0).shape[1])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert mlps.parallel == (family == "cohere")


def test_the_state_is_the_block_s_output_without_what_its_mlp_writes() -> None:
    mlps = Mlps(tiny_model("llama"))
    with torch.no_grad():
        out = mlps.network.model(torch.tensor([PROMPTS[0]]), output_hidden_states=True)
    written: list[torch.Tensor] = []
    handle = mlps.downs[0].register_forward_hook(lambda _, __, output: written.append(output))
    with torch.no_grad():
        mlps.network(torch.tensor([PROMPTS[0]]))
    handle.remove()
    expected = (out.hidden_states[1] - written[0])[0, -1]
    np.testing.assert_allclose(mean_states(mlps, PROMPTS[:1], 0, 100, "last")[0], expected, atol=1e-5)


def test_all_positions_hold_the_padding(tmp_path: Path) -> None:
    mlps = Mlps(causal_model("gpt2", tmp_path).network)
    together, alone = (mean_states(mlps, PROMPTS, 0, budget, "all") for budget in (1000, 5))
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together - mean_states(mlps, PROMPTS, 0, 1000, "last")).max() > 1e-3


def test_a_shift_is_measured_along_the_probe() -> None:
    before = state_rows(np.array([[3.0, 4.0], [1.0, 0.0]]), parallel=True)
    after = state_rows(np.array([[3.0, 2.0], [1.0, 0.0]]), parallel=True)
    first, second = shift_rows(before, after, np.array([0.0, 10.0])).to_pylist()
    assert (first["norm"], first["cosine"], first["status"]) == (2.0, -1.0, BLOCK_INPUT)
    assert first["relative"] == pytest.approx(0.4) and second["norm"] == 0
