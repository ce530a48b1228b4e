"""The ``serve`` block: engines, scoring and limits of the service."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from detox_ray.config.base import ConfigError, Name, Problem, Strict, distinct


class ReplicasConfig(Strict):
    """The replicas of a deployment, and how many requests each takes at a time."""

    replicas: int = Field(1, ge=1)  # the smallest number of replicas
    max_replicas: int | None = Field(None, ge=1)  # above replicas: Ray Serve scales with the load; null: no scaling
    max_ongoing: int = Field(64, ge=1)  # requests that a replica handles at a time; more wait for a free replica
    target_ongoing: int = Field(16, ge=1)  # requests per replica that autoscaling aims at
    cpus: float = Field(1, ge=0)  # CPUs that each replica reserves

    @model_validator(mode="after")
    def _range(self) -> "ReplicasConfig":
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            rule = f"must be at least replicas ({self.replicas})"
            raise ConfigError([Problem("max_replicas", self.max_replicas, rule)])
        return self


class EngineConfig(ReplicasConfig):
    """The vLLM engine of one model. On a cluster with GPUs, each replica reserves ``tensor_parallel`` of them."""

    tensor_parallel: int = Field(1, ge=1)  # GPUs of one node that share each layer
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)  # share of a GPU's memory that an engine may use
    cpu_kv_cache_gb: int = Field(1, ge=1)  # size of the KV cache in GB; on CPU only


class ScoringConfig(ReplicasConfig):
    """The scoring deployment. Each replica loads all scorers."""

    gpus: float = Field(0, ge=0)  # GPUs, or a share of one, that each replica reserves
    batch_size: int = Field(32, ge=1)  # most texts that are scored together
    batch_wait_s: float = Field(0.01, ge=0)  # seconds that the first text of a batch waits for others


class LimitsConfig(Strict):
    """The limits of one request and of one key. A request that is too large gets a 4xx; too many at once get a 429."""

    body_bytes: int = Field(1_000_000, ge=1)  # size of a request's body
    prompts: int = Field(32, ge=1)  # prompts per request
    prompt_tokens: int = Field(2048, ge=1)  # tokens of each prompt, by the model's tokenizer
    n: int = Field(32, ge=1)  # samples per prompt and model
    max_tokens: int = Field(512, ge=1)  # tokens of each sample
    in_flight: int = Field(64, ge=1)  # simultaneous requests of one key
    in_flight_total: int = Field(256, ge=1)  # simultaneous requests of all keys together
    timeout_s: float = Field(120, gt=0)  # seconds after which a request is abandoned
    drain_s: float = Field(60, ge=0)  # seconds that running requests get to finish after SIGTERM


class ServeConfig(Strict):
    """The ``serve`` block: which models and scorers are served, where, and with what limits."""

    host: str = "127.0.0.1"  # address to listen on; API keys are required unless it is loopback
    port: int = Field(8000, ge=0, lt=65536)  # 0: any free port
    models: Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)] | None = None  # null: all
    scorers: Annotated[list[Name], AfterValidator(distinct)] | None = None  # null: all of score.scorers; []: none
    share_engines: bool = True  # a LoRA-tuned model uses its parent's engine if vLLM supports it
    engine: EngineConfig = EngineConfig()
    engines: dict[Name, EngineConfig] = Field(default_factory=dict)  # model -> its engine, instead of `engine`
    scoring: ScoringConfig = ScoringConfig()
    gateways: int = Field(1, ge=1)  # on a cluster: processes that answer HTTP, each with its own limits and metrics
    limits: LimitsConfig = LimitsConfig()
    require_key: bool | None = None  # null: true if host is not loopback or if keys are given
    api_keys: str | None = None  # file of hashed keys (`detox-ray keys`); $DETOX_RAY_API_KEYS can also hold them
    cors: list[str] = Field(default_factory=list)  # origins of web pages that may call the service
    log_prompts: bool = False  # true: prompts and completions are logged
