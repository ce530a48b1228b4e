"""Memory of a generation engine: the weights, and the room for keys and values."""

import sys
from typing import NamedTuple

from detox_ray.config import GenerateConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.assumptions import GIB, Assumptions
from detox_ray.models.codec import context_of

WORKSPACE = 2 * GIB  # activations and logits of vLLM's largest batch, as it measures them itself when it starts
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED = {"fp8": 1.0, "bitsandbytes": 0.5, "awq": 0.5, "gptq": 0.5}  # bytes of a weight; others: as they are saved


class EngineMemory(NamedTuple):
    """One engine's memory per device, in bytes."""

    model: str
    weights: int
    room: int  # for keys and values; negative if the weights do not fit
    per_token: int  # keys and values of one token
    context: int  # tokens that must fit at once
    sequences: int  # that run at the same time
    limit: int  # that the engine may take
    assumption: str

    @property
    def fits(self) -> bool:
        """Return whether one sequence of full context fits."""
        return self.room >= self.context * self.per_token


def engine_memory(
    name: str, built: Architecture, dtype: str, config: GenerateConfig, tokens: float, assumed: Assumptions
) -> EngineMemory:
    """Estimate the memory of the engine of one model.

    Args:
        name: The model's name.
        built: Its architecture.
        dtype: The dtype in the experiment; auto: as the weights are saved.
        config: The generate block.
        tokens: The mean tokens of a prompt and its completion.
        assumed: The assumptions about the device.
    """
    saved = built.saved_dtype if dtype == "auto" else dtype
    width, gpus = BYTES.get(saved, 4), config.gpus_per_engine
    weights = int(built.parameters * QUANTIZED.get(config.quantization or "", width)) // gpus
    context = min(context_of(built.config, None), config.max_model_len or sys.maxsize)
    kept = 1 if (config.kv_cache_dtype or "").startswith("fp8") else width
    per_token = built.kv_elements_per_token * kept // gpus
    if assumed.gpu:
        limit = int((assumed.memory(1) + assumed.reserve * GIB) * config.gpu_memory_utilization)
        room = limit - weights - WORKSPACE
        how = f"{config.gpu_memory_utilization:.0%} of the GPU, less weights and {WORKSPACE / GIB:g} GiB to work with"
    else:
        limit = int(assumed.memory(1))
        room = min(config.cpu_kv_cache_gb * GIB, limit - weights)
        how = f"generate.cpu_kv_cache_gb: {config.cpu_kv_cache_gb}"
    sequences = min(int(max(0, room) / (per_token * tokens)), config.max_num_seqs or sys.maxsize)
    shared = f", over {gpus} GPUs" if gpus > 1 else ""
    form = f"{saved}, {config.quantization}" if config.quantization else saved
    assumption = f"weights in {form}{shared}; keys and values: {how}"
    return EngineMemory(name, weights, room, per_token, context, sequences, limit, assumption)
