"""Engines: what continues prompts. vLLM where it is installed; transformers as the second one, and as its check.

Both get the same token ids, cut and decoded by `detox_ray.tokens`, and sample alike: temperature, then the smallest set
of tokens with probability of at least top_p, no top_k. Greedy completions are equal. Sampled ones are not, for the two
turn a seed into randomness in different ways.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from detox_ray import vllm
from detox_ray.config import GenerateConfig
from detox_ray.tokens import Codec, room
from detox_ray.vllm import version as vllm_version


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


class VLLMEngine:
    """One vllm.LLM."""

    name = "vllm"

    def __init__(self, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig):
        self._codec = Codec(path, loading)
        self.version = vllm_version() or "unknown"
        self.device = vllm.device()
        self._config = config
        self._limit = room(self._codec.context, len(self._codec.prefix), config.max_tokens)
        self._llm = vllm.start(
            path,
            loading,
            self._codec.saved_dtype if dtype == "auto" else dtype,
            self._codec.context,
            tensor_parallel=config.tensor_parallel,
            gpu_memory_utilization=config.gpu_memory_utilization,
            cpu_kv_cache_gb=config.cpu_kv_cache_gb,
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
        vllm.end(self._llm)
