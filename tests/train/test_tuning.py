"""Adapters: which modules carry one, and that one on embedding or head is computed and trained as PEFT defines it."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_training import train_config
from tiny_families import FAMILIES, TIED
from tiny_families import tiny as tiny_with_dropout
from torch.nn.functional import log_softmax
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

from detox_ray.models import LoadableModel
from detox_ray.models.families import attention_implementation, family_of
from detox_ray.storage import Store
from detox_ray.storage.tables import PAIRS
from detox_ray.train import adapter_targets, head_adapter, tuning
from detox_ray.train.training_job import TrainingJob

FIELD = "models.detox.train.lora.target_modules"
IDS = torch.tensor([[5, 17, 99, 3, 250, 8], [7, 7, 31, 2, 11, 390]])


def tiny(family: str, **changes: Any) -> Any:
    model = tiny_with_dropout(family, **changes)
    disable_dropout_in_model(model)
    return model


def adapted(family: str, chosen: str | list[str], dropout: float = 0.0, fused: bool = True, **changes: Any) -> Any:
    return with_adapter(tiny(family, **changes), chosen, dropout, fused)


def with_adapter(model: Any, chosen: str | list[str], dropout: float = 0.0, fused: bool = True) -> Any:
    """Add an adapter as policy, TRL and connect do, with random factors instead of zeros."""
    head_adapter.show_without_adapter(model)
    targets = adapter_targets.target_modules(model, chosen, FIELD)
    conv = model.config.model_type == "gpt2"
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=targets, fan_in_fan_out=conv)
    peft = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    if fused:
        add_fused_lm_head(peft.get_base_model())
    head_adapter.connect(peft)
    return peft


def modules_with_adapter(model: Any) -> set[str]:
    return {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if ".lora_" in name}


def naive(model: Any) -> torch.Tensor:
    """[B, T - 1] log-probabilities of the next tokens, from the logits."""
    logits = model(input_ids=IDS).logits
    return log_softmax(logits[:, :-1].float(), -1).gather(-1, IDS[:, 1:, None]).squeeze(-1)


def fused(model: Any) -> torch.Tensor:
    log_probs: torch.Tensor = model(input_ids=IDS, labels=IDS, fused_lm_head=True).log_probs
    return log_probs


@pytest.mark.parametrize("family", FAMILIES)
def test_paper_lists_find_their_modules_in_every_family(family: str) -> None:
    listed = set(family_of(family).li2024 or ())
    expected = listed - {"lm_head"} if family in TIED else listed
    assert modules_with_adapter(adapted(family, "li2024")) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_leaves_embedding_and_head_out(family: str) -> None:
    found = modules_with_adapter(adapted(family, "all-linear"))
    linear = set(family_of(family).li2024 or ()) - {"embed_tokens", "word_embeddings", "lm_head"}
    assert found == linear


def test_name_without_module_is_an_error_that_lists_the_modules_there_are() -> None:
    with pytest.raises(ValueError, match=rf"^{FIELD}: 'q_project'.*there are down_proj, embed_tokens.*, q_proj,"):
        adapter_targets.target_modules(tiny("llama"), ["down_proj", "q_project"], FIELD)
    with pytest.raises(ValueError, match=r"'self_attn' is no linear or embedding module"):
        adapter_targets.target_modules(tiny("llama"), ["self_attn"], FIELD)


def test_family_without_list_is_an_error_that_says_what_else() -> None:
    model = tiny("llama")
    model.config.model_type = "opt"
    with pytest.raises(ValueError, match=rf"^{FIELD}: li2024 names no modules for opt .*use all-linear or name them"):
        adapter_targets.target_modules(model, "li2024", FIELD)


def test_module_can_be_chosen_by_its_dotted_name() -> None:
    model = adapted("llama", ["model.layers.1.mlp.up_proj"])
    assert {name.split(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name} == {
        "base_model.model.model.layers.1.mlp.up_proj"
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_log_probabilities_are_those_of_the_logits(family: str) -> None:
    """Gemma-2's final cap and Cohere's scale included; first without adapter, then with the paper's list."""
    plain = tiny(family)
    add_fused_lm_head(plain)
    torch.testing.assert_close(fused(plain), naive(plain), atol=1e-5, rtol=1e-5)
    model = adapted(family, "li2024")
    torch.testing.assert_close(fused(model), naive(model), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(fused(model), fused(plain), atol=1e-2)
    with model.disable_adapter():  # the reference
        torch.testing.assert_close(fused(model), fused(plain), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(naive(model), fused(plain), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "chosen"), [("llama", "lm_head"), ("llama", "embed_tokens"), ("gemma2", "lm_head")])
def test_gradients_through_the_fused_head_are_those_through_the_logits(family: str, chosen: str) -> None:
    weights = torch.linspace(-1, 1, 10).view(2, 5)
    gradients = []
    for path in (fused, naive):
        model = adapted(family, [chosen, "down_proj"])
        (path(model) * weights).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert any(("embed" if family in TIED else chosen) in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", sorted(TIED))
def test_tied_embedding_has_one_adapter_that_serves_both_ends(family: str) -> None:
    """Against a plain model whose one tensor has the product added to it."""
    model = adapted(family, ["lm_head"])
    layer = model.get_base_model().get_input_embeddings()
    added = 8 / 4 * (layer.lora_embedding_B["default"] @ layer.lora_embedding_A["default"]).T
    plain = tiny(family)
    plain.get_input_embeddings().weight.data += added
    torch.testing.assert_close(naive(model), naive(plain), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused(model), naive(plain), atol=1e-5, rtol=1e-5)


def test_dropout_before_the_heads_adapter_is_pefts() -> None:
    model = adapted("llama", ["lm_head"], dropout=0.5).train()
    draws = []
    for path in (fused, naive):
        torch.manual_seed(2)  # the same shape is drawn for both
        draws.append(path(model))
    with torch.no_grad():
        model.eval()
        without = fused(model)
    assert not torch.allclose(draws[0], without, atol=1e-2)
    assert not torch.allclose(draws[0], fused(model.train()), atol=1e-2)  # another draw
    torch.testing.assert_close(draws[0], draws[1], atol=1e-5, rtol=1e-5)


def test_without_adapter_on_embedding_or_head_nothing_is_added() -> None:
    model = adapted("llama", ["down_proj"])
    assert not hasattr(model.get_base_model(), "adapted_head")
    head_adapter.connect(tiny("llama"))


def test_gemma_trains_with_its_attention_cap() -> None:
    capped, not_capped = tiny("gemma2").config, tiny("llama").config
    assert attention_implementation(capped) == "eager"
    assert attention_implementation(not_capped) is None
    eager, default = (tiny("gemma2", attn_implementation=a) for a in ("eager", "sdpa"))
    assert not torch.allclose(naive(eager), naive(default), atol=1e-3)  # why: sdpa leaves the cap out


def test_4_bit_weights_are_loaded_as_the_paper_quantises_them(
    monkeypatch: pytest.MonkeyPatch, parent: LoadableModel, store: Store
) -> None:
    """4-bit weights are nf4, doubly quantised, and computed with in the type of `autocast`, as in docs/papers.md,
    "Training by Neplenbroek et al."
    """
    given: dict[str, Any] = {}

    def from_pretrained(path: str, **arguments: Any) -> Any:
        given.update(arguments)
        return tiny("llama")

    monkeypatch.setattr("detox_ray.train.tuning.AutoModelForCausalLM.from_pretrained", from_pretrained)
    config = train_config(tuning="qlora", autocast="float16")
    job = TrainingJob("detox", "k", config, parent, (PAIRS.unit(), "k"), 0, store, True)
    policy = tuning.policy(job, parent.location)
    chosen = given["quantization_config"]
    assert (chosen.load_in_4bit, chosen.bnb_4bit_quant_type, chosen.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert chosen.bnb_4bit_compute_dtype == torch.float16
    assert tuning.reference(job, parent.location) is None
    put_on = tuning.adapter(job, policy)
    assert put_on is not None
    assert (put_on.r, put_on.lora_alpha, put_on.target_modules) == (64, 16, "all-linear")


def test_adapter_on_a_head_of_any_name_is_trained() -> None:
    """BioGPT calls its head output_projection."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model("biogpt", vocab_size=400, initializer_range=0.1, tie_word_embeddings=False, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    plain = naive(model)
    peft = with_adapter(model, ["output_projection", "fc1"])
    torch.testing.assert_close(fused(peft), naive(peft), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(fused(peft), plain, atol=1e-2)
