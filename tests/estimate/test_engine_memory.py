"""An engine's planned memory follows its GPUs and vLLM's options."""

from typing import Any

from detox_ray.config import GenerateConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.assumptions import Assumptions
from detox_ray.estimate.engine_memory import EngineMemory, engine_memory

LLAMA_70B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "tie_word_embeddings": False,
    "max_position_embeddings": 8192,
}  # fmt: skip


def memory(**fields: Any) -> EngineMemory:
    return engine_memory("base", Architecture(LLAMA_70B), "bfloat16", GenerateConfig(**fields), 100.0, Assumptions())


def test_seventy_billion_weights_need_several_gpus_of_80_gb() -> None:
    assert not memory().fits
    assert memory(tensor_parallel=4).fits
    assert memory(tensor_parallel=2, pipeline_parallel=2).fits
    assert memory(quantization="fp8", tensor_parallel=2).fits


def test_options_change_what_they_say() -> None:
    plain = memory(tensor_parallel=4)
    assert memory(tensor_parallel=2, pipeline_parallel=2) == plain
    assert memory(tensor_parallel=4, quantization="fp8").weights == plain.weights // 2
    assert memory(tensor_parallel=4, kv_cache_dtype="fp8").per_token == plain.per_token // 2
    assert memory(tensor_parallel=4, max_model_len=64).context == 64
    assert memory(tensor_parallel=4, max_num_seqs=3).sequences == 3
