"""The ``generate`` block: how completions are drawn, and by which engine."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from detox_ray.config.base import ConfigError, Problem, Strict


class GenerateConfig(Strict):
    """Sampling, by default as in both papers: 25 samples, temperature 0.9, top-p 0.8, 20 tokens."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm if it is installed
    samples: int = Field(25, ge=1)  # completions per prompt
    temperature: float = Field(0.9, ge=0)  # 0: greedy; samples must then be 1
    top_p: float = Field(0.8, gt=0, le=1)
    max_tokens: int = Field(20, ge=1)
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"  # auto: one per GPU group, or one per 4 CPUs
    prompts_per_unit: int = Field(256, ge=1)  # prompts whose completions are committed together; few cost speed
    # what has a seed of its own. prompt: each prompt and sample, so that a completion does not depend on those that are
    # drawn with it; unit: each unit, which can then be drawn again only as a whole, and for which vLLM may use faster
    # kernels on a GPU
    seeding: Literal["prompt", "unit"] = "prompt"
    tensor_parallel: int = Field(1, ge=1)  # GPUs of one node that share each layer
    pipeline_parallel: int = Field(1, ge=1)  # groups of such GPUs, each with a part of the layers; may span nodes
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)  # share of a GPU's memory that an engine may use
    cpu_kv_cache_gb: int = Field(1, ge=1)  # size of the KV cache in GB; vLLM on CPU only

    # More options of vLLM, by vLLM's names; null: vLLM's default
    quantization: str | None = None  # such as fp8 or bitsandbytes, for weights whose config does not state it
    kv_cache_dtype: str | None = None  # such as fp8
    max_model_len: int | None = Field(None, ge=1)  # tokens of prompt and completion; null: as many as the model takes
    max_num_seqs: int | None = Field(None, ge=1)  # completions that are drawn at the same time
    enforce_eager: bool | None = None  # true: no CUDA graphs, which starts sooner and needs less memory but is slower
    engine_args: dict[str, JsonValue] = Field(default_factory=dict)  # any other argument of vLLM's EngineArgs

    @property
    def engine_options(self) -> dict[str, JsonValue]:
        """Return the options of vLLM that are set, by vLLM's names."""
        names = ("quantization", "kv_cache_dtype", "max_model_len", "max_num_seqs", "enforce_eager")
        return {name: value for name in names if (value := getattr(self, name)) is not None} | self.engine_args

    def greedy(self, max_tokens: int) -> "GenerateConfig":
        """Return the same engine with one sample of at most ``max_tokens``, always the likeliest token."""
        greedy = {"samples": 1, "temperature": 0.0, "top_p": 1.0, "max_tokens": max_tokens, "seeding": "prompt"}
        return self.model_copy(update=greedy)

    @property
    def gpus_per_engine(self) -> int:
        """Return the number of GPUs that one engine takes."""
        return self.tensor_parallel * self.pipeline_parallel

    @model_validator(mode="after")
    def _options_fit_together(self) -> "GenerateConfig":
        if self.temperature == 0 and self.samples > 1:
            rule = "must be 1 with temperature 0: greedy samples are all the same"
            raise ConfigError([Problem("samples", self.samples, rule)])
        if self.temperature == 0 and self.seeding == "unit":
            rule = "must be prompt with temperature 0: greedy completions need no seed"
            raise ConfigError([Problem("seeding", self.seeding, rule)])
        if self.max_model_len is not None and self.max_model_len <= self.max_tokens:
            rule = f"must be more than max_tokens ({self.max_tokens}), to leave room for the prompt"
            raise ConfigError([Problem("max_model_len", self.max_model_len, rule)])
        return self
