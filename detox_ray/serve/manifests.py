"""The service as files: Ray Serve's configuration for `serve deploy`, and KubeRay's RayService. Ray is not needed.

Both contain `app.build` and the arguments of `detox-ray serve`, so that a cluster builds the same application. On a
cluster the service binds all interfaces, and API keys are required.
"""

from importlib import metadata
from typing import Any

import yaml

from detox_ray.config import ReplicasConfig
from detox_ray.serve.http import keys
from detox_ray.serve.spec import ServeArgs, ServeSpec
from detox_ray.storage import Store

IMPORT_PATH = "detox_ray.serve.app:build"
APPLICATION = "detox-ray"
# The environment of Ray Serve's processes. A request stays in one thread and is sent by gRPC instead of as Ray objects.
# Ray's token protects both.
LEAN = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
}
SPILLING = {"object-spilling-directory": "/nvme/spill"}  # option of `ray start`


def serve_config(args: ServeArgs) -> dict[str, Any]:
    """Return the configuration that `serve deploy FILE` reads."""
    arguments = args.model_dump(mode="json", exclude_defaults=True)
    if args.run is not None:
        arguments["run"] = Store.at(args.run).uri  # absolute, because a cluster's processes have other working folders
    arguments["serve"] = {**arguments.get("serve", {}), "host": "0.0.0.0", "port": 8000}
    limits = args.serve.limits
    return {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": "0.0.0.0",
            "port": 8000,
            "request_timeout_s": limits.timeout_s + limits.drain_s,
        },
        "logging_config": {"encoding": "JSON", "enable_access_log": False},  # the gateway writes its own log
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "runtime_env": {"env_vars": LEAN},
                "args": arguments,
            },
        ],
    }


def ray_service(args: ServeArgs, spec: ServeSpec, image: str) -> dict[str, Any]:
    """Return KubeRay's RayService: a head without engines, and workers with one engine replica each.

    Ray's ports require a token, which KubeRay (1.5.1 or newer) creates.
    """
    engines = [engine.config for engine in spec.engines]
    configs: list[ReplicasConfig] = [*engines] or [spec.config.scoring]
    max_workers = sum(config.max_replicas or config.replicas for config in configs)
    min_workers = sum(config.replicas for config in configs)
    gpus = max((config.tensor_parallel for config in engines), default=0)
    cpus = max(2, round(max(config.cpus for config in configs) + spec.config.scoring.cpus + 1))
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": APPLICATION},
        "spec": {
            "serveConfigV2": to_yaml(serve_config(args)),
            "rayClusterConfig": {
                "rayVersion": metadata.version("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 600},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", **SPILLING},
                    "template": _pod("ray-head", image, {"cpu": "2", "memory": "8Gi"}, shared_memory="2560Mi"),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "engines",
                        "replicas": min_workers,
                        "minReplicas": min_workers,
                        "maxReplicas": max_workers,
                        "rayStartParams": SPILLING,
                        "template": _pod(
                            "ray-worker",
                            image,
                            {"cpu": str(cpus), "memory": "64Gi", "nvidia.com/gpu": str(gpus)},
                            shared_memory="20Gi",
                        ),
                    }
                ],
            },
        },
    }


def to_yaml(manifest: dict[str, Any]) -> str:
    """Return a manifest as YAML, with texts of several lines as blocks."""
    return yaml.dump(manifest, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True)


class _BlockDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_BlockDumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None),
)


def _pod(name: str, image: str, resources: dict[str, str], shared_memory: str) -> dict[str, Any]:
    """Return a pod's template, with hashed keys from a secret, caches on the node's disk, and shared memory."""
    hashed_keys = {"name": keys.ENVIRONMENT, "valueFrom": {"secretKeyRef": {"name": APPLICATION, "key": "api-keys"}}}
    environment = {
        **LEAN,
        # As in cluster/connection.py: an engine whose workers hold the GPUs must still see that there are GPUs.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "DETOX_RAY_CACHE": "/nvme/detox_ray",
        "HF_HOME": "/nvme/huggingface",
    }
    container = {
        "name": name,
        "image": image,
        "env": [hashed_keys, *({"name": name, "value": value} for name, value in environment.items())],
        "resources": {"limits": resources, "requests": resources},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "nvme", "mountPath": "/nvme"}],
    }
    return {
        "spec": {
            "serviceAccountName": APPLICATION,  # with access to the run's bucket, by workload identity
            "restartPolicy": "Never",  # the autoscaler, version 2, replaces pods
            "securityContext": {"fsGroup": 1000},  # the image's user writes to the volumes
            "containers": [container],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
                {"name": "nvme", "emptyDir": {}},
            ],
        }
    }
