"""The Ray Serve application: a gateway, a deployment per engine, and one for scoring.

``build`` is the ``import_path`` of Ray Serve's config files (manifests.py). `detox-ray serve` deploys only the backends
and runs the gateway in its own process (launch.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.serve import Application

from detox_ray.config import EngineConfig, ReplicasConfig
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.http.keys import required_keys
from detox_ray.serve.spec import EngineSpec, ServeArgs, ServeSpec, resolve
from detox_ray.serve.workers.engine_replica import EngineReplica
from detox_ray.serve.workers.scoring import ScoringReplica

SCORING = "scoring"
QUIET = {"enable_access_log": False}  # the gateway logs each request, so Ray Serve need not log each call


class IngressGateway(Gateway):
    """A gateway that is a deployment behind Ray Serve's proxies."""

    def __serve_build_asgi_app__(self) -> Any:
        """Build the web application. Ray Serve calls this on the replica."""
        return fastapi_app(self)


def build(args: ServeArgs) -> Application:
    """Bind the application that ``args`` describe. Raises ConfigError or InputError if the input is wrong."""
    return application(resolve(args), gpus=ray.cluster_resources().get("GPU", 0) > 0)


def application(spec: ServeSpec, gpus: bool) -> Application:
    """Bind the gateway and its backends.

    Args:
        spec: What to serve.
        gpus: Whether engines reserve GPUs.
    """
    config, limits = spec.config, spec.config.limits
    groups = engine_groups(spec)
    bound = backends(spec, groups, gpus)
    engines = {model: bound[name] for name, group in groups.items() for engine in group for model in engine.names}
    gateway = serve.deployment(
        name="gateway",
        logging_config=QUIET,
        num_replicas=config.gateways,
        max_ongoing_requests=2 * limits.in_flight_total,  # leaves room to answer the requests that it rejects
        graceful_shutdown_timeout_s=limits.drain_s,
        ray_actor_options={"num_cpus": 0},
    )(serve.ingress()(IngressGateway))
    return gateway.bind(spec, engines, bound[SCORING], required_keys(config), proxied=True)


def backends(spec: ServeSpec, groups: Mapping[str, Sequence[EngineSpec]], gpus: bool) -> dict[str, Application]:
    """Bind everything that a gateway calls, by deployment name: each group of engines, and scoring."""
    config, limits = spec.config, spec.config.limits
    bound: dict[str, Application] = {}
    for name, group in groups.items():
        options = engine_options(group[0], gpus)
        options["max_ongoing_requests"] *= len(group)
        bound[name] = serve.deployment(name=name, **options)(EngineReplica).bind(group, spec.store, limits, gpus)
    options = replica_options(config.scoring, gpus=config.scoring.gpus if gpus else 0)
    scoring = serve.deployment(name=SCORING, **options)(ScoringReplica)
    bound[SCORING] = scoring.bind(spec.scorers, spec.identifier, spec.fasttext, config.scoring, spec.store)
    return bound


def engine_groups(spec: ServeSpec, one_process: bool = False) -> dict[str, list[EngineSpec]]:
    """Return the engines of each engine deployment, by its name.

    Args:
        spec: What is served.
        one_process: Whether engines may share a replica, because half of an engine's start is the import of vLLM. Use
            this on one machine without GPUs. An engine with its own configuration or with several replicas always has
            a separate deployment.
    """
    groups: dict[str, list[EngineSpec]] = {}
    for engine in spec.engines:
        config = engine.config
        several = max(config.replicas, config.max_replicas or 1) > 1
        alone = not one_process or several or engine.model.name in spec.config.engines
        groups.setdefault(f"engine-{engine.model.name}" if alone else "engines", []).append(engine)
    return groups


def engine_options(spec: EngineSpec, gpus: bool) -> dict[str, Any]:
    """Return an engine's deployment options, including its placement: all GPUs that share layers are on one node."""
    config: EngineConfig = spec.config
    if gpus and config.tensor_parallel > 1:  # vLLM's workers are separate actors, which hold the GPUs
        bundles = [{"CPU": config.cpus, "GPU": 1}] + [{"GPU": 1}] * (config.tensor_parallel - 1)
        options = replica_options(config, gpus=0)
        return options | {"placement_group_bundles": bundles, "placement_group_strategy": "STRICT_PACK"}
    return replica_options(config, gpus=1 if gpus else 0)


def replica_options(config: ReplicasConfig, gpus: float) -> dict[str, Any]:
    """Return a deployment's options: the number of replicas, and the resources that each reserves."""
    scaling: dict[str, Any] = {"num_replicas": config.replicas}
    if config.max_replicas is not None and config.max_replicas > config.replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": config.replicas,
                "max_replicas": config.max_replicas,
                "target_ongoing_requests": config.target_ongoing,
            }
        }
    return {
        **scaling,
        "max_ongoing_requests": config.max_ongoing,
        "logging_config": QUIET,
        "ray_actor_options": {"num_cpus": config.cpus, "num_gpus": gpus},
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 30.0,
    }
