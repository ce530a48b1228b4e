"""How an experiment's models are served over HTTP: engines, scoring, limits."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from detox_ray.config.base import ConfigError, Name, Problem, Strict, distinct


class ReplicasConfig(Strict):
    """How many processes do a thing, and how much each may have in hand at once."""

    replicas: int = Field(1, ge=1)  # at least
    max_replicas: int | None = Field(None, ge=1)  # above replicas: Ray Serve adds and removes them with the load
    max_ongoing: int = Field(64, ge=1)  # requests that one replica works on; more wait for a free one
    target_ongoing: int = Field(16, ge=1)  # requests per replica that autoscaling aims at
    cpus: float = Field(1, ge=0)  # that each replica reserves

    @model_validator(mode="after")
    def _range(self) -> "ReplicasConfig":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            rule = f"must be at least replicas ({self.replicas})"
            raise ConfigError([Problem("max_replicas", self.max_replicas, rule)])
        return self


class EngineConfig(ReplicasConfig):
    """One model's vLLM engine. GPUs are reserved where the cluster has some: tensor_parallel of them per replica."""

    tensor_parallel: int = Field(1, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_kv_cache_gb: int = Field(1, ge=1)  # on CPU only


class ScoringConfig(ReplicasConfig):
    """The scorers' process: all of them are loaded in each replica."""

    gpus: float = Field(0, ge=0)  # that each replica reserves
    batch_size: int = Field(32, ge=1)  # texts that are scored together
    batch_wait_s: float = Field(0.01, ge=0)  # how long the first text of a batch waits for others


class LimitsConfig(Strict):
    """What one request, and one key, may ask for. Above a size: 4xx; too many at once: 429."""

    body_bytes: int = Field(1_000_000, ge=1)
    prompts: int = Field(32, ge=1)  # per request
    prompt_tokens: int = Field(2048, ge=1)  # of each prompt, in the model's tokens
    n: int = Field(32, ge=1)  # samples of each prompt and model
    max_tokens: int = Field(512, ge=1)  # of each sample
    in_flight: int = Field(64, ge=1)  # requests per key
    in_flight_total: int = Field(256, ge=1)  # of all keys together
    timeout_s: float = Field(120, gt=0)  # until a request is given up
    drain_s: float = Field(60, ge=0)  # how long requests may go on after SIGTERM


class ServeConfig(Strict):
    """The ``serve`` block."""

    host: str = "127.0.0.1"  # beyond loopback API keys are needed
    port: int = Field(8000, ge=0, lt=65536)  # 0: a free one
    models: Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)] | None = None  # null: all
    scorers: Annotated[list[Name], AfterValidator(distinct)] | None = None  # null: all of score.scorers; []: none
    share_engines: bool = True  # a LoRA-tuned model is served by its parent's engine, where vLLM can
    engine: EngineConfig = EngineConfig()
    engines: dict[Name, EngineConfig] = Field(default_factory=dict)  # by model, instead of engine
    scoring: ScoringConfig = ScoringConfig()
    gateways: int = Field(1, ge=1)  # on a cluster: processes that answer HTTP, each with limits and metrics of its own
    limits: LimitsConfig = LimitsConfig()
    require_key: bool | None = None  # null: where host is beyond loopback, or keys are given
    api_keys: str | None = None  # file of hashed keys (detox-ray keys); also $DETOX_RAY_API_KEYS
    cors: list[str] = Field(default_factory=list)  # origins whose pages may call; none by default
    log_prompts: bool = False  # prompts and completions into the log
