"""The service as files: Ray Serve's configuration for `serve deploy`, and KubeRay's RayService around it. No Ray.

Both name `app.build` with the arguments of `detox-ray serve`, so that a cluster builds the same application. Addresses
are the cluster's: it binds all interfaces, and API keys are required.
"""

from importlib import metadata
from typing import Any

import yaml

from detox_ray.serve.http import keys
from detox_ray.serve.spec import ServeArgs, Served
from detox_ray.storage import Store

IMPORT_PATH = "detox_ray.serve.app:build"
APPLICATION = "detox-ray"
# Environment of Ray Serve's processes. A request hops between no threads, and goes by gRPC rather than as objects of
# Ray; Ray's token guards both.
LEAN = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
}


def serve_config(args: ServeArgs) -> dict[str, Any]:
    """What `serve deploy FILE` reads."""
    given = args.model_dump(mode="json", exclude_defaults=True)
    if args.run is not None:
        given["run"] = Store.at(args.run).uri  # absolute: a cluster's processes have folders of their own
    given["serve"] = {**given.get("serve", {}), "host": "0.0.0.0", "port": 8000}
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
                "args": given,
            },
        ],
    }


def ray_service(args: ServeArgs, served: Served, image: str) -> dict[str, Any]:
    """KubeRay's RayService: a head without engines, and workers of one engine replica each.

    Ray's ports ask for a token, which KubeRay (1.5.1 or newer) makes.
    """
    engines = served.engines
    workers = sum(spec.config.max_replicas or spec.config.replicas for spec in engines)
    least = sum(spec.config.replicas for spec in engines)
    gpus = max(spec.config.tensor_parallel for spec in engines)
    cpus = max(2, round(max(spec.config.cpus for spec in engines) + served.config.scoring.cpus + 1))
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": APPLICATION},
        "spec": {
            "serveConfigV2": text(serve_config(args)),
            "rayClusterConfig": {
                "rayVersion": metadata.version("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
                    "template": _pod("ray-head", image, {"cpu": "2", "memory": "8Gi"}),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "engines",
                        "replicas": least,
                        "minReplicas": least,
                        "maxReplicas": workers,
                        "rayStartParams": {},
                        "template": _pod(
                            "ray-worker", image, {"cpu": str(cpus), "memory": "64Gi", "nvidia.com/gpu": str(gpus)}
                        ),
                    }
                ],
            },
        },
    }


def text(manifest: dict[str, Any]) -> str:
    """As YAML, a file within the file as a block of lines."""
    return yaml.dump(manifest, Dumper=_Lines, sort_keys=False, allow_unicode=True)


class _Lines(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Lines.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None),
)


def _pod(name: str, image: str, resources: dict[str, str]) -> dict[str, Any]:
    hashed = {"name": keys.ENVIRONMENT, "valueFrom": {"secretKeyRef": {"name": APPLICATION, "key": "api-keys"}}}
    # As cluster/connection.py has it: an engine whose workers have the GPUs sees that there are some.
    environment = {**LEAN, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    memory = {"name": "shm", "emptyDir": {"medium": "Memory"}}
    container = {
        "name": name,
        "image": image,
        "env": [hashed, *({"name": name, "value": value} for name, value in environment.items())],
        "resources": {"limits": resources, "requests": resources},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    return {"spec": {"containers": [container], "volumes": [memory]}}
