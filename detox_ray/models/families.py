"""Families of models: everything that differs between architectures, in one table.

A family is the `model_type` in a model's config.json. The table lists the families for which the defaults of `Family`
are wrong. The functions below read what a config itself states, whichever name it uses. Imports no torch.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

_LLAMA_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LLAMA_LI2024 = (*_LLAMA_LINEAR, "embed_tokens", "lm_head")
# Names under which a config states how many tokens the model takes.
_POSITIONS = ("max_position_embeddings", "n_positions", "seq_length", "max_sequence_length", "max_seq_len", "n_ctx")


@dataclass(frozen=True, kw_only=True)
class MlpNames:
    """Dotted names of the parts of a decoder's MLPs.

    Attributes:
        blocks: The list of blocks, relative to the model. The other names are relative to a block.
        down: The projection back to the residual stream. Neuron i of a block is its i-th input.
        key: The projection whose row i decides when neuron i is active; in a gated MLP, the gate.
        up: The other factor of a gated MLP; None if the MLP has no gate.
        norm: The norm that reads the residual stream before the MLP; None if attention and MLP read the same state.
        bypassed_by: Fields of the config. If each is greater than the value given here, the model multiplies slices of
            the weights itself and never calls the module ``down``.
    """

    blocks: str
    down: str
    key: str
    up: str | None = None
    norm: str | None = "post_attention_layernorm"
    bypassed_by: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """The properties of one family of models.

    Attributes:
        model_type: The family's name in a config.json.
        li2024: Names of the modules on which Li et al. 2024 put adapters (docs/papers.md, "Training by Li et al."), or
            of their counterparts in a family that they did not tune. None: `target_modules: li2024` is an error.
        vllm_class: The class in a config.json's `architectures` whose vLLM engine serves several LoRA adapters at a
            time. None: vLLM has none, or it is untested.
        vllm_lora_modules: Names of the modules on which that engine applies an adapter.
        likelihood: How the model assigns a likelihood to a text: "causal" (next tokens), or "t5" (its decoder copies
            what its encoder reads).
        padded: Whether padding in a batch leaves a text's score unchanged. It does not with Fourier transforms,
            convolutions, hashes and landmarks over all positions, vectors made of neighbouring tokens, and heads that
            read the last position. tests/score/test_padding.py tests every family.
        text_only: Whether the model reads only the tokens of a text, and not, say, boxes on a page or cells of a table.
        positions_follow_padding: Whether positions are counted from the padding token's id, so that of 514 positions
            only 512 are usable.
        mlp: The names of its MLPs. None: neurons of this family cannot be read or edited.
    """

    model_type: str
    li2024: tuple[str, ...] | None = None
    vllm_class: str | None = None
    vllm_lora_modules: tuple[str, ...] = ()
    likelihood: Literal["causal", "t5"] = "causal"
    padded: bool = True
    text_only: bool = True
    positions_follow_padding: bool = False
    mlp: MlpNames | None = None


_LLAMA_MLP = MlpNames(blocks="model.layers", down="mlp.down_proj", key="mlp.gate_proj", up="mlp.up_proj")


def _llama_layout(
    model_type: str,
    vllm_class: str,
    li2024: tuple[str, ...] | None = _LLAMA_LI2024,
    norm: str | None = _LLAMA_MLP.norm,
) -> Family:
    mlp = replace(_LLAMA_MLP, norm=norm)
    return Family(model_type=model_type, li2024=li2024, vllm_class=vllm_class, vllm_lora_modules=_LLAMA_LINEAR, mlp=mlp)


_TABLE = (
    # Decoders. Li et al. tuned Llama, Aya (cohere) and BLOOM with adapters, and mGPT (gpt2) without.
    _llama_layout("llama", "LlamaForCausalLM"),
    _llama_layout("cohere", "CohereForCausalLM", norm=None),
    _llama_layout("mistral", "MistralForCausalLM"),
    _llama_layout("gemma2", "Gemma2ForCausalLM", norm="pre_feedforward_layernorm"),
    _llama_layout("qwen3", "Qwen3ForCausalLM"),
    _llama_layout("gemma", "GemmaForCausalLM", li2024=None),
    _llama_layout("qwen2", "Qwen2ForCausalLM", li2024=None),
    Family(
        model_type="bloom",
        li2024=("word_embeddings", "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        mlp=MlpNames(
            blocks="transformer.h",
            down="mlp.dense_4h_to_h",
            key="mlp.dense_h_to_4h",
            bypassed_by=(("pretraining_tp", 1), ("slow_but_exact", 0)),
        ),
    ),
    Family(
        model_type="gpt2",
        li2024=("c_attn", "c_proj", "c_fc"),
        mlp=MlpNames(blocks="transformer.h", down="mlp.c_proj", key="mlp.c_fc", norm="ln_2"),
    ),
    # Encoder-decoders
    Family(model_type="t5", likelihood="t5"),
    Family(model_type="mt5", likelihood="t5"),
    Family(model_type="umt5", likelihood="t5"),
    Family(model_type="t5gemma", padded=False),
    Family(model_type="t5gemma2", padded=False),
    # Classifiers
    Family(model_type="convbert", padded=False),
    Family(model_type="fnet", padded=False),
    Family(model_type="mobilebert", padded=False),
    Family(model_type="nystromformer", padded=False),
    Family(model_type="xlnet", padded=False),
    Family(model_type="yoso", padded=False),
    Family(model_type="camembert", positions_follow_padding=True),
    Family(model_type="data2vec-text", positions_follow_padding=True),
    Family(model_type="esm", positions_follow_padding=True),
    Family(model_type="ibert", positions_follow_padding=True),
    Family(model_type="longformer", positions_follow_padding=True),
    Family(model_type="luke", positions_follow_padding=True),
    Family(model_type="mpnet", positions_follow_padding=True),
    Family(model_type="roberta", positions_follow_padding=True),
    Family(model_type="roberta-prelayernorm", positions_follow_padding=True),
    Family(model_type="xlm-roberta", positions_follow_padding=True),
    Family(model_type="xlm-roberta-xl", positions_follow_padding=True),
    Family(model_type="xmod", positions_follow_padding=True),
    # Models of documents, tables and bytes
    Family(model_type="layoutlm", text_only=False),
    Family(model_type="layoutlmv2", text_only=False),
    Family(model_type="layoutlmv3", text_only=False),
    Family(model_type="lilt", text_only=False),
    Family(model_type="markuplm", text_only=False),
    Family(model_type="perceiver", text_only=False),
    Family(model_type="tapas", text_only=False),
)
FAMILIES: Mapping[str, Family] = {family.model_type: family for family in _TABLE}
assert len(FAMILIES) == len(_TABLE), "a family stands twice in the table"


def family_of(model_type: str) -> Family:
    """Return the family of this name: the table's, or one with the defaults."""
    return FAMILIES.get(model_type) or Family(model_type=model_type)


def vllm_lora_modules(architectures: Collection[str]) -> frozenset[str]:
    """Return the modules on which vLLM applies the adapter that a request chooses; none if it serves no adapters.

    Args:
        architectures: The field `architectures` of the model's config.json.
    """
    by_class = {family.vllm_class: frozenset(family.vllm_lora_modules) for family in _TABLE if family.vllm_class}
    modules = [by_class.get(name, frozenset()) for name in architectures]
    return frozenset.intersection(*modules) if modules else frozenset()


def attention_implementation(config: Any) -> str | None:
    """Return ``attn_implementation`` for from_pretrained of a causal model; None leaves the choice to transformers.

    Gemma-2 caps its attention logits. Of the built-in attentions, only "eager" applies the cap. "sdpa" silently omits
    it, so that training and measuring would see a different model from the one that vLLM runs.
    """
    return "eager" if getattr(config, "attn_logit_softcapping", None) else None


def stated_positions(config: Any) -> int | None:
    """Return how many tokens a model takes according to its config; None if the config states no limit.

    Args:
        config: An AutoConfig object, or the content of a config.json. XLNet writes -1 for "no limit", BLOOM nothing.
    """
    if isinstance(config, Mapping):
        inner = config.get("text_config")
        text = inner if isinstance(inner, Mapping) else config
        lengths = [text.get(name) for name in _POSITIONS]
    else:
        text = config.get_text_config()
        lengths = [getattr(text, name, None) for name in _POSITIONS]
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)
