"""How an experiment's models are served over HTTP: engines, scoring, limits."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from detox_ray.config.base import ConfigError, Name, Problem, Strict, distinct


class ReplicasConfig(Strict):
    """The replicas of a deployment, and how many requests each may have in hand."""

    replicas: int = Field(1, ge=1)  # the minimum
    max_replicas: int | None = Field(None, ge=1)  # if above replicas, Ray Serve scales with the load
    max_ongoing: int = Field(64, ge=1)  # requests in one replica at a time; others wait for a free one
    target_ongoing: int = Field(16, ge=1)  # requests per replica, the target of autoscaling
    cpus: float = Field(1, ge=0)  # reserved by each replica

    @model_validator(mode="after")
    def _range(self) -> "ReplicasConfig":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            rule = f"must be at least replicas ({self.replicas})"
            raise ConfigError([Problem("max_replicas", self.max_replicas, rule)])
        return self


class EngineConfig(ReplicasConfig):
    """One model's vLLM engine. On a cluster with GPUs each replica reserves ``tensor_parallel`` of them."""

    tensor_parallel: int = Field(1, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_kv_cache_gb: int = Field(1, ge=1)  # on CPU only


class ScoringConfig(ReplicasConfig):
    """The scoring deployment. Each replica loads all scorers."""

    gpus: float = Field(0, ge=0)  # reserved by each replica
    batch_size: int = Field(32, ge=1)  # texts scored together
    batch_wait_s: float = Field(0.01, ge=0)  # how long the first text of a batch waits for others


class LimitsConfig(Strict):
    """The limits of one request and of one key. A request that is too large gets a 4xx, too many at once a 429."""

    body_bytes: int = Field(1_000_000, ge=1)
    prompts: int = Field(32, ge=1)  # per request
    prompt_tokens: int = Field(2048, ge=1)  # of each prompt, in the model's tokens
    n: int = Field(32, ge=1)  # samples per prompt and model
    max_tokens: int = Field(512, ge=1)  # of each sample
    in_flight: int = Field(64, ge=1)  # requests per key
    in_flight_total: int = Field(256, ge=1)  # of all keys together
    timeout_s: float = Field(120, gt=0)  # after which a request is given up
    drain_s: float = Field(60, ge=0)  # how long requests may take to finish after SIGTERM


class ServeConfig(Strict):
    """The ``serve`` block."""

    host: str = "127.0.0.1"  # beyond loopback, API keys are required
    port: int = Field(8000, ge=0, lt=65536)  # 0 takes a free one
    models: Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)] | None = None  # null: all
    scorers: Annotated[list[Name], AfterValidator(distinct)] | None = None  # null: all of score.scorers; []: none
    share_engines: bool = True  # whether a LoRA-tuned model uses its parent's engine, if vLLM can
    engine: EngineConfig = EngineConfig()
    engines: dict[Name, EngineConfig] = Field(default_factory=dict)  # by model; replaces engine
    scoring: ScoringConfig = ScoringConfig()
    gateways: int = Field(1, ge=1)  # on a cluster: processes that answer HTTP, each with its own limits and metrics
    limits: LimitsConfig = LimitsConfig()
    require_key: bool | None = None  # null: only if host is beyond loopback or keys are given
    api_keys: str | None = None  # file of hashed keys (see `detox-ray keys`); $DETOX_RAY_API_KEYS may hold them, too
    cors: list[str] = Field(default_factory=list)  # origins whose web pages may call the service
    log_prompts: bool = False  # whether prompts and completions are logged
