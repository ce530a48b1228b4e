"""An edited model is the model with a hook that changes activations, for every family; undone, it is the old one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from readable_models import FAMILIES, tiny_model

from detox_ray.config import InputError
from detox_ray.models import edits
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron, check_neurons
from detox_ray.models.vllm_edits import NeuronEdits

IDS = torch.tensor([[5, 6, 7, 8, 9]])
NEURONS: list[Neuron] = [(0, 3), (0, 50), (1, 7)]
AMOUNTS = [2.0, -5.0, 0.5]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@contextmanager
def hooked(mlps: Mlps) -> Iterator[None]:
    """Add AMOUNTS to NEURONS in what the down projections take."""

    def hook(layer: int) -> Callable[[Any, Any], tuple[torch.Tensor]]:
        def changed(_: Any, inputs: Any) -> tuple[torch.Tensor]:
            m_BTN = inputs[0].clone()
            for place, (at, index) in enumerate(NEURONS):
                if at == layer:
                    m_BTN[..., index] += AMOUNTS[place]
            return (m_BTN,)

        return changed

    handles = [down.register_forward_pre_hook(hook(layer)) for layer, down in enumerate(mlps.downs)]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_offset_is_what_a_hook_does_and_leaves_no_trace(family: str) -> None:
    model = tiny_model(family)
    mlps, before = Mlps(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    untouched = logits(model)
    with hooked(mlps):
        expected = logits(model)
    with edits.offset(mlps, NEURONS, AMOUNTS):
        edited = logits(model)
    torch.testing.assert_close(edited, expected, atol=2e-5, rtol=1e-5)
    assert (edited - untouched).abs().max() > 1e-3
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transplant_of_all_neurons_is_the_other_models_mlps(family: str) -> None:
    model, other = tiny_model(family), tiny_model(family)
    torch.manual_seed(1)
    for layer, block in enumerate(Mlps(other).blocks):
        for name, tensor in block.mlp.named_parameters():
            if not (name.endswith("bias") and tensor.shape[0] == model.config.hidden_size):  # no neuron's own
                tensor.data += 0.05 * torch.randn_like(tensor)
        assert layer < 2
    mlps, untouched = Mlps(model), logits(model)
    every = [(layer, index) for layer, size in enumerate(mlps.sizes) for index in range(size)]
    with edits.transplanted(mlps, edits.neuron_weights(Mlps(other), every)):
        torch.testing.assert_close(logits(model), logits(other), atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(model), untouched)
    with edits.transplanted(mlps, edits.neuron_weights(Mlps(other), every), keys=False):
        assert (logits(model) - logits(other)).abs().max() > 1e-3


def test_two_halves_of_a_sharded_projection_add_up() -> None:
    """A tensor-parallel rank holds a slice of the neurons; the bias is added once."""
    mlps = Mlps(tiny_model("llama"))
    v_ND = mlps.value_vectors(0)
    m_N = torch.randn(v_ND.shape[0])
    half = v_ND.shape[0] // 2
    with edits.offset(mlps, [(0, 3), (0, half + 2)], [2.0, -1.0]):
        down: Any = mlps.downs[0]
        whole = down(m_N)
        parts = m_N[:half] @ v_ND[:half] + m_N[half:] @ v_ND[half:] + down.bias
    torch.testing.assert_close(parts, whole)


class Quantised(torch.nn.Module):
    """A linear layer of 8-bit integers, each row with its scale."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.scale = torch.nn.Parameter(linear.weight.detach().abs().amax(1, keepdim=True) / 127, requires_grad=False)
        self.weight = torch.nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, m_BTN: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(m_BTN, self.weight * self.scale, self.bias)


class Rank(torch.nn.Module):
    """A rank's slice of a row-parallel projection, as vLLM has it; its output is not added up over ranks."""

    def __init__(self, weight_DN: torch.Tensor, tp_rank: int, bias: torch.Tensor) -> None:
        super().__init__()
        size = weight_DN.shape[1] // 2
        self.tp_rank, self.input_size_per_partition = tp_rank, size
        self.weight = torch.nn.Parameter(weight_DN[:, tp_rank * size : (tp_rank + 1) * size])
        self.bias: torch.nn.Parameter | None = torch.nn.Parameter(bias)

    def forward(self, m_BN: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.nn.functional.linear(m_BN, self.weight, self.bias if self.tp_rank == 0 else None), None


def test_ranks_of_vllm_add_up_to_the_offset_and_forget_it() -> None:
    weight_DN, bias, m_N = torch.randn(6, 8), torch.randn(6), torch.randn(8)
    outputs = []
    for rank in (0, 1):
        model = torch.nn.Module()
        model.model = torch.nn.Module()
        block = torch.nn.Module()
        block.mlp = torch.nn.Module()
        block.mlp.down_proj = Rank(weight_DN, rank, bias)
        model.model.layers = torch.nn.ModuleList([block])
        worker: Any = NeuronEdits()
        worker.get_model, worker.device = lambda model=model: model, torch.device("cpu")
        worker.model_config = SimpleNamespace(dtype=torch.float32, hf_config=SimpleNamespace(model_type="llama"))
        part_N = m_N[rank * 4 : rank * 4 + 4][None]
        before = block.mlp.down_proj(part_N)[0]
        worker.add_to_activations([0, 0], [1, 6], [2.0, -3.0])
        outputs.append(block.mlp.down_proj(part_N)[0])
        worker.undo_edits()
        assert torch.equal(block.mlp.down_proj(part_N)[0], before)
    moved_N = m_N.clone()
    moved_N[1] += 2.0
    moved_N[6] -= 3.0
    torch.testing.assert_close(outputs[0] + outputs[1], (weight_DN @ moved_N + bias)[None])


def test_quantised_weights_are_read_and_offset() -> None:
    model = tiny_model("llama")
    for block in Mlps(model).blocks:
        block.mlp.down_proj = Quantised(block.mlp.down_proj)
    mlps, untouched = Mlps(model), logits(model)
    down: Any = mlps.downs[1]
    torch.testing.assert_close(mlps.value_vectors(1), (down.weight * down.scale).T)
    with hooked(mlps):
        expected = logits(model)
    with edits.offset(mlps, NEURONS, AMOUNTS):
        torch.testing.assert_close(logits(model), expected, atol=2e-5, rtol=1e-5)
    assert torch.equal(logits(model), untouched)


def test_neurons_that_do_not_exist_or_stand_twice_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[2, 0\] is not in the model"):
        check_neurons([(0, 1), (2, 0)], [96, 96])
    with pytest.raises(InputError, match="twice"):
        check_neurons([(0, 1), (0, 1)], [96, 96])
