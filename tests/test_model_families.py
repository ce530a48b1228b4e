"""What the table of families says, and what holds for a family that is not in it."""

import pytest

from detox_ray.models.families import family_of, vllm_lora_modules


def test_a_family_that_is_not_listed_has_the_defaults() -> None:
    family = family_of("of-tomorrow")
    assert (family.model_type, family.li2024, family.likelihood) == ("of-tomorrow", None, "causal")
    assert family.padded and family.text_only and not family.positions_follow_padding


@pytest.mark.parametrize("model_type", ["t5", "mt5", "umt5"])
def test_t5_models_copy_what_they_read(model_type: str) -> None:
    assert family_of(model_type).likelihood == "t5"


def test_vllm_takes_adapters_for_known_classes_only() -> None:
    assert "down_proj" in vllm_lora_modules(["LlamaForCausalLM"])
    assert not vllm_lora_modules(["LlamaForCausalLM", "SomethingNewForCausalLM"])
    assert not vllm_lora_modules([])
