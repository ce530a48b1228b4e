"""Checks of cluster/'s files by the schemas of those who read them: Ray, AWS, Google Cloud, Azure, KubeRay.

Each function returns the problems of one document, each of which names the field, and starts nothing.
"""

import copy
import json
import logging
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import click
import googleapiclient
import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts
from ray.scripts.symmetric_run import symmetric_run

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
CRDS = ROOT.parent / "shared/data/kuberay-crds"  # KubeRay's own files, which the project does not carry


def documents(name: str) -> list[dict[str, Any]]:
    """Return the YAML documents of a file of cluster/."""
    return list(yaml.safe_load_all((CLUSTER / name).read_text(encoding="utf-8")))


# --- ray up ---------------------------------------------------------------------------------------------------------


def ray_up_problems(config: Mapping[str, Any]) -> list[str]:
    """Check what `ray up` reads as that command does, its machines by their cloud's schema, and its commands."""
    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.WARNING)
    try:
        prepared = prepare_config(copy.deepcopy(dict(config)))
        validate_config(prepared)
    except jsonschema.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    except (AssertionError, ValueError, RuntimeError) as error:
        return [str(error)]
    problems: list[str] = []
    check = {"aws": _aws_problems, "gcp": _gcp_problems, "azure": _azure_problems}.get(config["provider"]["type"])
    for name, node_type in config.get("available_node_types", {}).items():
        if check is not None:
            problems += [f"{name}: {problem}" for problem in check(node_type["node_config"])]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in prepared[key]:
            problems += [f"{key}: {problem}" for problem in ray_command_problems(command)]
    return problems


@cache
def _aws_shape() -> tuple[botocore.validate.ParamValidator, botocore.model.StructureShape]:
    loader = botocore.loaders.Loader()
    service = botocore.model.ServiceModel(loader.load_service_model("ec2", "service-2"))
    return botocore.validate.ParamValidator(), service.operation_model("RunInstances").input_shape


def _aws_problems(node_config: dict[str, Any]) -> list[str]:
    validator, shape = _aws_shape()
    report = validator.validate({"MinCount": 1, "MaxCount": 1, **node_config}, shape)
    return report.generate_report().splitlines() if report.has_errors() else []


@cache
def _gcp_schemas() -> dict[str, Any]:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache/documents"
    schemas: dict[str, Any] = json.loads((folder / "compute.v1.json").read_text(encoding="utf-8"))["schemas"]
    return schemas


def _gcp_problems(value: Any, schema: Mapping[str, Any] | None = None, field: str = "node_config") -> list[str]:
    """Check a value by the discovery document of Compute Engine."""
    schema = schema or _gcp_schemas()["Instance"]
    if "$ref" in schema:
        schema = _gcp_schemas()[schema["$ref"]]
    kind = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}.get(schema["type"], object)
    if schema.get("format") in ("int64", "uint64") and isinstance(value, int):  # a string in JSON, or a number
        return []
    if not isinstance(value, kind):
        return [f"{field}: must be of type {schema['type']} (got {value!r})"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{field}: must be one of {schema['enum']} (got {value!r})"]
    problems: list[str] = []
    if isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            if key in schema["properties"]:
                problems += _gcp_problems(inner, schema["properties"][key], f"{field}.{key}")
            else:
                problems.append(f"{field}.{key}: unknown field")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            problems += _gcp_problems(inner, schema["items"], f"{field}.{number}")
    return problems


def _azure_problems(node_config: dict[str, Any]) -> list[str]:
    """Check the parameters by those of the template that Ray deploys."""
    template = Path(ray.autoscaler.__file__).parent / "_private/_azure/azure-vm-template.json"
    known = json.loads(template.read_text(encoding="utf-8"))["parameters"]
    kinds = {"string": str, "securestring": str, "int": int, "bool": bool, "object": dict, "array": list}
    problems = []
    for key, value in node_config["azure_arm_parameters"].items():
        if key not in known:
            problems.append(f"azure_arm_parameters.{key}: unknown parameter")
        elif not isinstance(value, kinds[known[key]["type"]]):
            problems.append(f"azure_arm_parameters.{key}: must be of type {known[key]['type']}")
    return problems


# --- commands of Ray ------------------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\$\{?\w+(:-[\w/]+)?\}?")  # of the shell: any number may stand in its place
COMMANDS: dict[str, click.Command] = {"start": scripts.start, "stop": scripts.stop}


def ray_command_problems(command: str) -> list[str]:
    """Parse `ray start` and `ray stop` by Ray's own definition of its commands."""
    words = shlex.split(command)
    if words[0] != "ray" or words[1] not in COMMANDS:
        return [f"{command!r} is not a command of Ray that is known here"]
    return _option_problems(words[1], words[2:])


def symmetric_run_problems(command: str) -> list[str]:
    """Parse `ray symmetric-run`: its own options, and up to `--` those that it passes on to `ray start`."""
    words = shlex.split(_VARIABLE.sub("7", command))
    options = words[words.index("symmetric-run") + 1 : words.index("--")]
    context = symmetric_run.make_context("symmetric-run", [*options, "--", *words[words.index("--") + 1 :]])
    passed_on = context.params["ray_args_and_entrypoint"]
    return _option_problems("start", [word for word in passed_on if word.startswith("--")])


def _option_problems(name: str, words: list[str]) -> list[str]:
    words = [_VARIABLE.sub("7", word) for word in words]
    try:
        params = COMMANDS[name].make_context(name, words).params
        json.loads(params.get("resources") or "{}")
    except (click.ClickException, ValueError) as error:
        return [getattr(error, "message", None) or str(error)]
    return []


def ray_commands(script: str) -> Iterator[str]:
    """Yield the `ray start` commands of a shell script."""
    joined = re.sub(r"\\\n\s*", "", script)
    for found in re.finditer(r"\bray start [^;\n]*", joined):
        yield found[0]


# --- Kubernetes -----------------------------------------------------------------------------------------------------


@cache
def _crd(kind: str) -> dict[str, Any]:
    """Return KubeRay's schema of a kind. Skips the test if KubeRay's files are not here."""
    path = CRDS / f"ray.io_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    crd = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _strict(schema: Any) -> Any:
    """Return a JSON schema that refuses unknown fields, as the API server's strict validation does."""
    if not isinstance(schema, dict):
        return schema
    out = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    if "properties" in schema:
        out["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
    if "items" in schema:
        out["items"] = _strict(schema["items"])
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        out["additionalProperties"] = _strict(additional)
    elif "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields") and additional is None:
        out["additionalProperties"] = False
    return out


def _schema_problems(value: Any, schema: Mapping[str, Any]) -> list[str]:
    errors = jsonschema.Draft7Validator(schema).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


def kuberay_problems(manifest: Mapping[str, Any]) -> list[str]:
    """Check a RayCluster, RayJob or RayService by KubeRay's schema, and by rules that its operator checks itself."""
    schema = _strict(_crd(manifest["kind"]))
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    problems = _schema_problems(manifest, schema)
    return problems or [*_job_problems(manifest), *_cluster_problems(ray_cluster(manifest))]


def ray_cluster(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification of the Ray cluster within a manifest."""
    inner = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}[manifest["kind"]]
    spec: dict[str, Any] = manifest["spec"]
    return spec if inner is None else dict(spec[inner])


def _job_problems(manifest: Mapping[str, Any]) -> list[str]:
    spec = manifest["spec"]
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    problems = []
    if spec.get("ttlSecondsAfterFinished") and not shuts_down:
        problems.append("ttlSecondsAfterFinished: needs shutdownAfterJobFinishes")
    if shuts_down and "deletionRules" in spec.get("deletionStrategy", {}):
        problems.append("deletionStrategy.deletionRules: excludes shutdownAfterJobFinishes")
    if "kueue.x-k8s.io/queue-name" in manifest["metadata"].get("labels", {}) and not shuts_down:
        problems.append("shutdownAfterJobFinishes: Kueue needs it")
    return problems


def _cluster_problems(spec: Mapping[str, Any]) -> list[str]:
    problems = []
    version = tuple(map(int, spec.get("rayVersion", "0.0").split(".")[:2]))
    if spec.get("authOptions", {}).get("mode") == "token" and version < (2, 52):
        problems.append("rayVersion: a token needs Ray 2.52 or newer")
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    if spec.get("autoscalerOptions", {}).get("version") == "v2":
        for group in groups:
            if group["template"]["spec"].get("restartPolicy") != "Never":
                problems.append("restartPolicy: autoscaler v2 needs Never")
    for group in groups:
        if (count := group.get("minReplicas", 0)) > group.get("maxReplicas", count):
            problems.append(f"minReplicas: {count} is above maxReplicas")
        options = [f"--{name}={value}" for name, value in group["rayStartParams"].items() if name != "resources"]
        problems += [f"rayStartParams: {problem}" for problem in _option_problems("start", options)]
        if "resources" in group["rayStartParams"]:  # passed through a shell, so quoted twice
            problems += _resource_problems(group["rayStartParams"]["resources"])
    return problems


def _resource_problems(quoted: str) -> list[str]:
    try:
        json.loads(json.loads(quoted))
    except ValueError as error:
        return [f"rayStartParams.resources: {error}"]
    return []


def network_policy_problems(policy: Mapping[str, Any]) -> list[str]:
    """Check a NetworkPolicy. Its rules are checked by the schema that KubeRay's files contain of them."""
    group = _crd("RayCluster")["properties"]["spec"]["properties"]["networkPolicy"]["properties"]["head"]
    selector = group["properties"]["ingressRules"]["items"]["properties"]["from"]["items"]["properties"]["podSelector"]
    shape = {
        "type": "object",
        "required": ["podSelector"],
        "properties": {
            "podSelector": selector,
            "policyTypes": {"type": "array", "items": {"enum": ["Ingress", "Egress"]}},
            "ingress": group["properties"]["ingressRules"],
            "egress": group["properties"]["egressRules"],
        },
    }
    return _schema_problems(policy["spec"], _strict(shape))
