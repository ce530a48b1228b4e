"""Counts of a model without weights against hand-worked numbers, real tensors, and what publishers state."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from detox_ray.config import InputError, LoraConfig
from detox_ray.estimate.architecture import Architecture, Tuning
from detox_ray.estimate.dimensions import table

WIDTH, INNER, LAYERS, WORDS = 64, 96, 2, 100
TINY = {
    "model_type": "llama", "vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": False,
}  # fmt: skip
LAYER = 2 * WIDTH * WIDTH + 2 * WIDTH * 32 + 3 * WIDTH * INNER + 2 * WIDTH  # q o, k v, gate up down, norms


@pytest.mark.parametrize("entry", table()["models"], ids=lambda entry: entry["ids"][0])
def test_published_dimensions_give_the_published_number_of_parameters(entry: dict[str, Any]) -> None:
    assert Architecture(entry["config"]).parameters == entry["parameters"]


def test_parameters_heads_and_cache_are_those_of_the_dimensions() -> None:
    built = Architecture(TINY)
    assert built.parameters == built.trained == LAYERS * LAYER + 2 * WORDS * WIDTH + WIDTH
    assert built.matrix_parameters == built.parameters - WORDS * WIDTH  # the embedding is looked up
    assert built.kv_elements_per_token == 2 * LAYERS * 1 * 32
    assert Architecture({**TINY, "tie_word_embeddings": True}).matrix_parameters == built.parameters - WORDS * WIDTH


def test_an_adapter_trains_its_two_factors_of_each_linear_layer() -> None:
    built = Architecture(TINY, Tuning(LoraConfig(r=4)))
    shapes = [(WIDTH, WIDTH)] * 2 + [(WIDTH, 32)] * 2 + [(WIDTH, INNER)] * 3  # q o, k v, gate up down
    assert built.trained == LAYERS * sum(4 * (one + other) for one, other in shapes)
    assert built.parameters == Architecture(TINY).parameters


def test_patterns_choose_what_is_trained_and_one_that_finds_nothing_is_refused() -> None:
    assert Architecture(TINY, Tuning(None, ("down_proj",))).trained == LAYERS * WIDTH * INNER
    with pytest.raises(InputError, match="finds no parameter"):
        Architecture(TINY, Tuning(None, ("nonsense",)))


def test_activations_are_what_a_real_forward_pass_keeps() -> None:
    """Beside the attention itself, which is another kernel on another device, and its mask."""
    torch.manual_seed(0)
    config = {**TINY, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept_alive = model.model(input_ids=torch.zeros(3, 16, dtype=torch.long), use_cache=False)
    real = sum(storage.nbytes() for storage in held.values())
    del kept_alive
    assert Architecture(config).kept(3, 16).whole == pytest.approx(real, rel=0.05)


def test_checkpointing_keeps_the_layers_inputs_and_one_layer() -> None:
    kept = Architecture({**TINY, "num_hidden_layers": 6}).kept(2, 32)
    assert kept.boundary == 2 * 32 * WIDTH * 4
    assert kept.checkpointed == kept.outside + 6 * kept.boundary + max(kept.layers)
    assert kept.checkpointed < kept.whole / 2


def test_unknown_family_is_refused() -> None:
    with pytest.raises(InputError, match="model_type 'nonsense'"):
        Architecture({"model_type": "nonsense"})
