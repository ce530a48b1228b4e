"""An adapter merged into its parent's weights, and left beside them as a folder that PEFT loads.

Imported by workers only.
"""

import warnings
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from detox_ray.train import families

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of PEFT's names before those of the model


def merge(base: Any, adapter: Path) -> Any:
    """``base`` with the products of the adapter's factors added to its weights, in place.

    Weights in 4 bits are unpacked, the product is added, and they are rounded to 4 bits again (PEFT); the result is
    unpacked. ``base`` is a causal language model as the adapter was trained on; the adapter's folder is completed.
    """
    _keep_factors(adapter)
    shared = families.tied(base)  # one tensor with one adapter, the embedding's: added once
    names = [families.name_of(base, layer) for layer in (base.get_input_embeddings(), base.get_output_embeddings())]
    with warnings.catch_warnings():  # of tied weights, and of rounding to 4 bits: both as intended
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    if shared:
        _repeat_at_head(adapter, *names)
    return model.dequantize() if getattr(model, "is_loaded_in_4bit", False) else model


def _keep_factors(adapter: Path) -> None:
    """Without the weights beneath embedding adapters, which PEFT saves too: they are the parent's."""
    tensors = load_file(adapter / WEIGHTS)
    save_file({name: tensor for name, tensor in tensors.items() if ".base_layer." not in name}, adapter / WEIGHTS)


def _repeat_at_head(adapter: Path, embedding: str, head: str) -> None:
    """Write a tied embedding's adapter a second time, as the head's: PEFT loads the two as separate modules."""
    tensors = load_file(adapter / WEIGHTS)
    below = f"{_PREFIX}{embedding}.lora_embedding_"
    if f"{below}A" not in tensors:
        return
    tensors[f"{_PREFIX}{head}.lora_A.weight"] = tensors[f"{below}B"].T.contiguous()
    tensors[f"{_PREFIX}{head}.lora_B.weight"] = tensors[f"{below}A"].T.contiguous()
    save_file(tensors, adapter / WEIGHTS)
    config = LoraConfig.from_pretrained(str(adapter))
    config.target_modules = sorted({*config.target_modules, head})
    config.save_pretrained(str(adapter))
