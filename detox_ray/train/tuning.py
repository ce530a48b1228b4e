"""Loading of the model to be trained, and the choice of what to train: all parameters, some by name, or an adapter.

Only workers import this module.
"""

import re
from typing import Any

import torch
from peft import LoraConfig
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from detox_ray.config import InputError
from detox_ray.models.families import attention_implementation
from detox_ray.models.layout import stores_weights_transposed
from detox_ray.train import head_adapter, settings
from detox_ray.train.adapter_targets import target_modules
from detox_ray.train.training_job import TrainingJob
from detox_ray.train.trl_internals import disable_dropout_in_model


def policy(job: TrainingJob, path: str) -> PreTrainedModel:
    """Load the model to be trained, without its adapter and with dropout off."""
    model = _load(job, path)
    if job.config.trainable is not None:
        freeze(model, job.config.trainable, f"models.{job.name}.train.trainable")
    if job.config.tuning != "full":
        head_adapter.show_without_adapter(model)
    return model


def reference(job: TrainingJob, path: str) -> PreTrainedModel | None:
    """Load the parent; None if the policy without its adapter is the parent."""
    return _load(job, path) if job.config.tuning == "full" else None


def _load(job: TrainingJob, path: str) -> Any:
    loading = {**job.parent.loading(), "dtype": getattr(torch, job.config.dtype)}
    loading["attn_implementation"] = attention_implementation(AutoConfig.from_pretrained(path, **job.parent.loading()))
    if job.config.tuning == "qlora":
        loading["quantization_config"] = four_bit(job)
    # A DeepSpeed configuration is active, so under ZeRO-3 the model is sharded while it loads.
    model = AutoModelForCausalLM.from_pretrained(path, **loading)
    # This is TRL's default. The reference's dropout must be off, and so must the policy's, or their ratio is noise.
    disable_dropout_in_model(model)
    return model


def four_bit(job: TrainingJob) -> BitsAndBytesConfig:
    """Return nf4 with double quantisation (docs/papers.md, "Training by Neplenbroek et al.")."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, job.config.autocast or job.config.dtype),
        # ZeRO-3 also shards the packed weights, and gathers only tensors of one type together.
        bnb_4bit_quant_storage=getattr(torch, job.config.dtype),
    )


def adapter(job: TrainingJob, model: PreTrainedModel) -> LoraConfig | None:
    """Return the adapter for the policy, or None. After adding it, call `head_adapter.connect`."""
    if job.config.tuning == "full":
        return None
    lora = settings.lora_of(job.config)
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_modules(model, lora.target_modules, f"models.{job.name}.train.lora.target_modules"),
        fan_in_fan_out=stores_weights_transposed(model),
        bias="none",
        task_type="CAUSAL_LM",
    )


def freeze(model: nn.Module, patterns: list[str], field: str) -> None:
    """Train only the parameters whose names match one of ``patterns`` (re.search).

    Tied weights are one parameter, with the name that the model lists first (usually the input embedding's).

    Raises:
        InputError: If a pattern matches no parameter. The message names ``field``.
    """
    names = [name for name, _ in model.named_parameters()]
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(names)
    for pattern in patterns:
        if any(re.search(pattern, name) for name in names):
            continue
        shared = [name for name in sorted(tied) if re.search(pattern, name)]
        because = f"; {shared[0]} is tied to another parameter: name that one" if shared else ""
        raise InputError(f"{field}: {pattern!r} finds no parameter{because} (there are {', '.join(names[:4])}, …)")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(re.search(pattern, name) for pattern in patterns))
