"""Tiny random classifiers of every family that transformers has a classification head for."""

from typing import Any

VOCABULARY, PAD, OTHER, EOS, FIRST = 64, 1, 2, 3, 4  # ids of words begin at FIRST

# What a config may call its sizes; those that it has are made small.
_SMALL: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim", "word_embed_proj_dim"), 16
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 1),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "n_mamba_heads"), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "d_inner", "ffn_dim", "hidden_dim", "dff"), 32),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "expert_ffn_hidden_size"), 32),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "intra_bottleneck_size"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 0),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), EOS),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **{"d_kv": 8, "head_dim": 8, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8},
    **{"v_head_dim": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    **{"vocab_size": VOCABULARY, "pad_token_id": PAD, "initializer_range": 0.5, "init_std": 0.5},
    **{"entity_vocab_size": 8, "entity_emb_size": 8, "num_hash_functions": 2, "num_hash_buckets": 128},
}
_UNSET = {
    "falcon": {"head_dim"},
    "funnel": {"num_hidden_layers"},
    "gpt_neo": {"num_layers"},
    "mistral4": {"num_key_value_heads", "head_dim"},
    "xlnet": {"max_position_embeddings"},
    "zamba": {"head_dim"},
    "zamba2": {"head_dim"},
}
_TEXT = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": 0, "hidden_size": 16}
_TEXT |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
_TEXT |= {"head_dim": 8, "initializer_range": 0.5, "max_position_embeddings": 128}
_LINEAR = _TEXT | {"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2}
_LINEAR |= {"linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_IMAGE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_MORE: dict[str, dict[str, Any]] = {
    "axk2": {"q_lora_rank": 16},
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * 2,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
        "head_dim": 128,
    },
    "funnel": {"block_sizes": [1, 1], "d_head": 8},
    "gemma3": {"text_config": _TEXT, "vision_config": {**_IMAGE, "image_size": 16, "patch_size": 8}},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "longformer": {"attention_window": 8},
    "mistral4": {"num_key_value_heads": 2},
    "modernvbert": {"text_config": _TEXT, "vision_config": {**_IMAGE, "image_size": 16, "patch_size": 8}},
    "qwen3_5": {"text_config": _LINEAR, "vision_config": {**_IMAGE, "num_heads": 2, "depth": 1, "out_hidden_size": 16}},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "reformer": {"axial_pos_shape": [8, 16], "axial_pos_embds_dim": [8, 8]},
    "roc_bert": {"pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "t5": {"decoder_start_token_id": 0},
    "t5gemma": {"encoder": {**_TEXT}, "decoder": {**_TEXT}},
    "t5gemma2": {
        "encoder": {"text_config": _TEXT, "vision_config": {**_IMAGE, "image_size": 16, "patch_size": 8}},
        "decoder": _TEXT,
        "eoi_token_index": 5,
        "image_token_index": 6,
    },
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layer_types": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {
        "num_hidden_layers": 4,
        "layer_types": ["mamba", "hybrid", "mamba", "hybrid"],
        "hybrid_layer_ids": [1, 3],
        "mamba_ngroups": 1,
        "n_mamba_heads": 4,
    },
}


def config_of(family: str) -> Any:
    from transformers import CONFIG_MAPPING

    made = CONFIG_MAPPING[family]
    names = {name for name in dir(made()) if name in _SMALL} - _UNSET.get(family, set())
    settings = {name: _SMALL[name] for name in names} | _MORE.get(family, {})
    if "text_config" in settings or "decoder" in settings:
        settings = _MORE[family]
    return made(num_labels=2, **settings)


def model_of(family: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config_of(family)).eval()


def tokenizer(pad: str | None) -> Any:
    """Knows w4 to w63, puts <eos> behind a text, and calls ``pad`` its padding."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    named = {"<s>": 0, "<pad>": PAD, "<other>": OTHER, "<eos>": EOS}
    words = {f"w{number}": number for number in range(FIRST, VOCABULARY)}
    made = Tokenizer(models.WordLevel(named | words, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens([AddedToken(name, special=True) for name in named])
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", EOS)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=pad, model_max_length=128)
