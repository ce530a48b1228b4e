"""The vLLM engine."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Completion, Generated
from detox_ray.models import vllm_options
from detox_ray.models.codec import Codec, prompt_limit
from detox_ray.models.device import device


class VLLMEngine:
    """An engine around one vllm.LLM."""

    name = "vllm"

    def __init__(
        self,
        path: str,
        loading: dict[str, Any],
        dtype: str,
        config: GenerateConfig,
        options: Mapping[str, Any] = MappingProxyType({}),
    ):
        """Load a model.

        Args:
            path: a folder or hub id.
            loading: keyword arguments for every from_pretrained call (`LoadableModel.loading`).
            dtype: "auto" (as the weights are saved), "float32", …
            config: how completions are drawn.
            options: More arguments for vLLM, which replace those of the config.
        """
        self.codec = Codec(path, loading)
        self.version = vllm_options.version() or "unknown"
        self.device = device().name
        self._config = config
        self.context = min(config.max_model_len or self.codec.context, self.codec.context)
        self._limit = prompt_limit(self.context, len(self.codec.prefix), config.max_tokens)
        self.llm = vllm_options.start(
            path,
            loading,
            self.codec.saved_dtype if dtype == "auto" else dtype,
            self.context,
            tensor_parallel=config.tensor_parallel,
            pipeline_parallel=config.pipeline_parallel,
            gpu_memory_utilization=config.gpu_memory_utilization,
            cpu_kv_cache_gb=config.cpu_kv_cache_gb,
            options={
                **{name: value for name, value in config.engine_options.items() if name != "max_model_len"},
                **options,
            },
        )

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], chat: bool = False) -> Generated:
        from vllm import SamplingParams, TokensPrompt

        config, encoded = self._config, self.codec.encode(prompts, self._limit, chat)
        outputs = self.llm.generate(
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
                        self.codec.completion(ids, sample.token_ids),
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
        vllm_options.end(self.llm)
