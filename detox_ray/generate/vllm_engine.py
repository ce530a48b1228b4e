"""The vLLM engine."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Completion, Generated
from detox_ray.generate.seeds import sample_seeds
from detox_ray.models import vllm_options
from detox_ray.models.codec import Codec, prompt_limit
from detox_ray.models.device import device
from detox_ray.models.vllm_internals import RESEEDING


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
                **({"worker_extension_cls": RESEEDING} if config.seeding == "unit" else {}),
                **options,
            },
        )

    def generate(self, prompts: Sequence[str], seeds: Sequence[int] | int, chat: bool = False) -> Generated:
        from vllm import SamplingParams, TokensPrompt

        config, encoded = self._config, self.codec.encode(prompts, self._limit, chat)
        common: dict[str, Any] = {
            "n": config.samples,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_tokens,
            "detokenize": False,
        }
        requests = [TokensPrompt(prompt_token_ids=ids) for ids in encoded.ids]
        if isinstance(seeds, int):
            outputs = self._drawn_together(requests, SamplingParams(**common), seeds)
        else:
            parameters = [SamplingParams(**common, seed=seed) for seed in seeds]  # sample k is drawn with seed + k
            outputs = self.llm.generate(requests, parameters, use_tqdm=False)
        return Generated(
            [
                [
                    Completion(
                        self.codec.completion(ids, sample.token_ids),
                        len(sample.token_ids),
                        "stop" if sample.finish_reason == "stop" else "length",
                        seeds_S[sample.index],
                    )
                    for sample in sorted(output.outputs, key=lambda sample: sample.index)
                ]
                for ids, seeds_S, output in zip(
                    encoded.ids, sample_seeds(seeds, len(prompts), config.samples), outputs, strict=True
                )
            ],
            encoded.cut,
        )

    def _drawn_together(self, requests: list[Any], parameters: Any, seed: int) -> list[Any]:
        """Return the outputs of requests without seeds of their own, which draw from one stream of random numbers.

        The order of the draws follows from how vLLM batches the requests. So that the same call draws the same samples
        again, no request is scheduled before all are queued, and no prompt is in the cache.
        """
        llm = self.llm
        llm.sleep(level=0)  # pauses the scheduling and nothing else
        emptied = llm.reset_prefix_cache()
        assert emptied, "no request is running"
        llm.collective_rpc("set_seed", args=(seed,))
        try:
            llm.enqueue(requests, parameters, use_tqdm=False)
        finally:
            llm.wake_up(tags=["scheduling"])
        outputs: list[Any] = llm.wait_for_completion(use_tqdm=False)
        return outputs

    def close(self) -> None:
        """End the engine's own processes and free their shared memory."""
        vllm_options.end(self.llm)
