"""`trainable`: which parameters a pattern selects."""

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from detox_ray.train.tuning import freeze

FIELD = "models.detox.train.trainable"


def model(tied: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=2,
            num_attention_heads=1,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
    )


def trained(llama: LlamaForCausalLM) -> set[str]:
    return {name for name, parameter in llama.named_parameters() if parameter.requires_grad}


def test_only_what_a_pattern_finds_is_trained() -> None:
    llama = model(tied=True)
    freeze(llama, [r"layers\.0\.mlp\.down_proj", r"^model\.norm"], FIELD)
    assert trained(llama) == {"model.layers.0.mlp.down_proj.weight", "model.norm.weight"}


def test_frozen_embeddings_stay_frozen_when_they_are_also_the_output_layer() -> None:
    llama = model(tied=True)
    freeze(llama, ["^(?!.*embed_tokens)"], FIELD)
    assert not llama.lm_head.weight.requires_grad
    assert all("embed" not in name for name in trained(llama))


def test_untied_output_layer_can_be_selected() -> None:
    llama = model(tied=False)
    freeze(llama, ["lm_head"], FIELD)
    assert trained(llama) == {"lm_head.weight"}


@pytest.mark.parametrize(("pattern", "said"), [("layres", "finds no parameter"), ("lm_head", "is tied")])
def test_pattern_without_parameter_is_an_error_that_names_the_field(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^models\.detox\.train\.trainable: '{pattern}'.*{said}"):
        freeze(model(tied=True), ["mlp", pattern], FIELD)
