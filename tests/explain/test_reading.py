"""Neurons are read as a naive loop over steps computes them from the weights, for every family, however rows are
batched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from readable_models import FAMILIES, causal_model, tiny_model
from transformers.activations import ACT2FN

from detox_ray.config import InputError
from detox_ray.explain.continuation import end_tokens, greedy
from detox_ray.explain.reading import Row, read
from detox_ray.explain.states import pooled
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import layout_problem

ROWS = [Row([5, 6, 7], [8, 9, 10, 11]), Row([12], [13]), Row([20, 21, 22, 23, 24], [25, 26]), Row([30, 31], [])]
CHOSEN = [[3, 0], [95]]


def recomputed(model: Any, family: str, layer: int, ids: list[int]) -> torch.Tensor:
    """The neurons (T, N) of one layer from the MLP's input and the formula of its family."""
    inputs: list[torch.Tensor] = []
    mlp = Mlps(model).blocks[layer].mlp
    handle = mlp.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    handle.remove()
    x_TD = inputs[0][0]
    with torch.no_grad():
        if family == "gpt2":
            return ACT2FN["gelu_new"](x_TD @ mlp.c_fc.weight + mlp.c_fc.bias)
        if family == "bloom":
            h = x_TD @ mlp.dense_h_to_4h.weight.T + mlp.dense_h_to_4h.bias
            return h * 0.5 * (1 + torch.tanh(0.79788456 * h * (1 + 0.044715 * h * h)))
        act = ACT2FN[model.config.hidden_activation if family == "gemma2" else model.config.hidden_act]
        return act(x_TD @ mlp.gate_proj.weight.T) * (x_TD @ mlp.up_proj.weight.T)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reading_is_what_a_loop_over_single_steps_finds(family: str) -> None:
    model = tiny_model(family)
    mlps = Mlps(model)
    chosen = CHOSEN if family not in ("gpt2", "bloom") else [[3, 0], [255]]
    reading = read(mlps, ROWS, chosen, pad=0, budget=8)
    assert reading.row_steps.tolist() == [4, 1, 2, 0]
    for layer in range(2):
        per_row = []
        for row in ROWS:
            steps = [
                recomputed(model, family, layer, row.prompt + row.continuation[:done])[-1].double()
                for done in range(row.steps)
            ]
            per_row.append(torch.stack(steps) if steps else torch.empty(0, mlps.sizes[layer]).double())
        all_steps = torch.cat(per_row)
        found = reading.layers[layer]
        np.testing.assert_allclose(found.sums, all_steps.sum(0), atol=2e-5)
        np.testing.assert_allclose(found.squares, all_steps.square().sum(0), atol=2e-5)
        assert np.abs(found.positive - (all_steps > 0).sum(0).numpy()).sum() <= 1
        expected = torch.stack([steps[:, chosen[layer]].sum(0) for steps in per_row])
        np.testing.assert_allclose(found.row_sums, expected, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_times_value_vectors_are_what_the_mlp_writes(family: str) -> None:
    model = tiny_model(family)
    mlps = Mlps(model)
    for layer in range(2):
        written: list[torch.Tensor] = []
        down: Any = mlps.downs[layer]
        handle = down.register_forward_hook(lambda _, __, out, written=written: written.append(out))
        m_TN = recomputed(model, family, layer, [5, 6, 7, 8])
        handle.remove()
        bias = 0 if down.bias is None else down.bias
        torch.testing.assert_close(m_TN @ mlps.value_vectors(layer) + bias, written[0][0], atol=1e-5, rtol=1e-4)


def test_batches_and_order_change_nothing() -> None:
    mlps = Mlps(tiny_model("llama"))
    whole = read(mlps, ROWS, CHOSEN, pad=0, budget=1000)
    one_by_one = read(mlps, ROWS[::-1], CHOSEN, pad=0, budget=1)
    for a, b in zip(whole.layers, one_by_one.layers, strict=True):
        np.testing.assert_allclose(a.sums, b.sums, atol=1e-5)
        np.testing.assert_allclose(a.row_sums, b.row_sums[::-1], atol=1e-5)


def test_a_model_in_pieces_is_read_as_a_whole_one(tmp_path: Path) -> None:
    """As accelerate splits a model that is too large for a device: one layer is loaded from disk when it runs."""
    from accelerate import dispatch_model

    model = tiny_model("llama")
    before = read(Mlps(model), ROWS, CHOSEN, pad=0, budget=1000)
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    dispatched = dispatch_model(model, places, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    after = read(Mlps(dispatched), ROWS, CHOSEN, pad=0, budget=1000)
    np.testing.assert_allclose(before.layers[1].sums, after.layers[1].sums, atol=1e-5)


def test_a_model_whose_down_projection_is_never_called_is_refused() -> None:
    model = tiny_model("bloom", pretraining_tp=2, slow_but_exact=True)
    with pytest.raises(InputError, match="never calls"):
        Mlps(model)
    assert layout_problem({"model_type": "bloom", "pretraining_tp": 2, "slow_but_exact": False}) is None
    assert "known: llama" in str(layout_problem({"model_type": "mixtral"}))


def test_a_layer_that_does_not_fire_is_an_error() -> None:
    model = tiny_model("llama")
    mlps = Mlps(model)
    model.model.layers[1].mlp.forward = lambda states: states  # as a fused kernel that replaces the module's forward
    with pytest.raises(InputError, match="layer 1 was never called"):
        read(mlps, ROWS, CHOSEN, pad=0, budget=1000)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_continuations_are_those_of_a_loop_without_cache(family: str, tmp_path: Path) -> None:
    model = causal_model(family, tmp_path)
    prompts = [[5, 6, 7], [12], [20, 21, 22, 23, 24]]
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(model.network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append(ids[len(prompt) :])
    assert greedy(model, prompts, 6, after_end=True) == expected
    ended = greedy(model, prompts, 6)
    (end,) = end_tokens(model)
    assert ended == [full[: full.index(end) + 1] if end in full else full for full in expected]


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_states_are_the_means_of_transformers_hidden_states(family: str) -> None:
    model = tiny_model(family)
    rows = [[5, 6, 7, 8], [9], [10, 11]]
    states = pooled(Mlps(model), rows, pad=0, budget=8, skipped=1, layer="all")
    final = pooled(Mlps(model), rows, pad=0, budget=100, skipped=1)
    second = pooled(Mlps(model), rows, pad=0, budget=8, skipped=1, layer=1)
    np.testing.assert_array_equal(second, states[:, 1:2])
    with pytest.raises(InputError, match=r"explain\.probe\.layer: must be less than 2"):
        pooled(Mlps(model), rows, pad=0, budget=8, layer=2)
    for place, row in enumerate(rows):
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
        kept = slice(1, None) if len(row) > 1 else slice(None)
        expected = torch.stack([layer[0, kept].mean(0) for layer in hidden])
        np.testing.assert_allclose(states[place], expected, atol=1e-5)
        np.testing.assert_allclose(final[place, 0], expected[-1], atol=1e-5)
