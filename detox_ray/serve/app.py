"""The Ray Serve application: a gateway, an engine deployment per engine, and the scoring deployment.

``build`` is what a Serve config file (manifests.py) names as ``import_path``. `detox-ray serve` deploys the parts
behind the gateway, which it runs in its own process (run.py).
"""

from typing import Any

from ray import serve
from ray.serve import Application

from detox_ray.config import EngineConfig, ReplicasConfig
from detox_ray.serve.http import keys
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.spec import EngineSpec, ServeArgs, Served, resolve
from detox_ray.serve.workers.engine import Engine
from detox_ray.serve.workers.scoring import Scoring

SCORING = "scoring"
QUIET = {"enable_access_log": False}  # no line per call of a deployment: the gateway writes one per request


def build(args: ServeArgs) -> Application:
    """From arguments to a bound application. Raises ConfigError or InputError where the input is wrong."""
    return application(resolve(args), gpus=_has_gpus())


def application(served: Served, gpus: bool) -> Application:
    """The gateway with all that it asks, bound. ``gpus``: whether engines reserve GPUs."""
    config, limits = served.config, served.config.limits
    made = parts(served, gpus)
    engines = {name: made[engine_name(spec)] for spec in served.engines for name in spec.names}
    gateway = serve.deployment(
        name="gateway",
        logging_config=QUIET,
        num_replicas=config.gateways,
        max_ongoing_requests=2 * limits.in_flight_total,  # so that those it refuses get an answer, too
        graceful_shutdown_timeout_s=limits.drain_s,
        ray_actor_options={"num_cpus": 0},
    )(serve.ingress()(Gateway))
    return gateway.bind(served, engines, made[SCORING], keys.of(config), proxied=True)


def parts(served: Served, gpus: bool) -> dict[str, Application]:
    """What a gateway asks, bound, by the name of its deployment: each engine, and the scoring."""
    config, limits = served.config, served.config.limits
    made: dict[str, Application] = {}
    for spec in served.engines:
        deployment = serve.deployment(name=engine_name(spec), **_engine_options(spec, gpus))(Engine)
        made[engine_name(spec)] = deployment.bind(spec, served.store, limits)
    options = _options(config.scoring, gpus=config.scoring.gpus if gpus else 0)
    scoring = serve.deployment(name=SCORING, **options)(Scoring)
    made[SCORING] = scoring.bind(served.scorers, served.identifier, served.fasttext, config.scoring, served.store)
    return made


def engine_name(spec: EngineSpec) -> str:
    """Of its deployment."""
    return f"engine-{spec.model.name}"


def _engine_options(spec: EngineSpec, gpus: bool) -> dict[str, Any]:
    config: EngineConfig = spec.config
    if gpus and config.tensor_parallel > 1:  # vLLM's workers are actors of their own, and theirs are the GPUs
        bundles = [{"CPU": config.cpus, "GPU": 1}] + [{"GPU": 1}] * (config.tensor_parallel - 1)
        options = _options(config, gpus=0)
        return options | {"placement_group_bundles": bundles, "placement_group_strategy": "PACK"}
    return _options(config, gpus=1 if gpus else 0)


def _options(config: ReplicasConfig, gpus: float) -> dict[str, Any]:
    scaled: dict[str, Any] = {"num_replicas": config.replicas}
    if config.max_replicas is not None and config.max_replicas > config.replicas:
        scaled = {
            "autoscaling_config": {
                "min_replicas": config.replicas,
                "max_replicas": config.max_replicas,
                "target_ongoing_requests": config.target_ongoing,
            }
        }
    return {
        **scaled,
        "max_ongoing_requests": config.max_ongoing,
        "logging_config": QUIET,
        "ray_actor_options": {"num_cpus": config.cpus, "num_gpus": gpus},
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 30.0,
    }


def _has_gpus() -> bool:
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0
