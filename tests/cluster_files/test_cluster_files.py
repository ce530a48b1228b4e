"""Every file of cluster/ passes its owner's schema and keeps our rules; a broken one is refused by name."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from owners_schemas import (
    CLUSTER,
    documents,
    kuberay_problems,
    network_policy_problems,
    ray_cluster,
    ray_command_problems,
    ray_commands,
    ray_up_problems,
    symmetric_run_problems,
)

RAY_UP = ["aws.yaml", "gcp.yaml", "azure.yaml", "own-hosts.yaml"]
KUBERAY = ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml", "kuberay/rayservice.yaml"]
IMAGE = "registry.example.com/detox-ray:gpu"


def text(name: str) -> str:
    return (CLUSTER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_takes_the_file(name: str) -> None:
    (config,) = documents(name)
    assert ray_up_problems(config) == []


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_the_file(name: str) -> None:
    (manifest,) = documents(name)
    assert kuberay_problems(manifest) == []


def test_kubernetes_takes_the_network_policy() -> None:
    (policy,) = documents("kuberay/network-policy.yaml")
    assert network_policy_problems(policy) == []
    to_dashboard = [
        rule for rule in policy["spec"]["ingress"] if {"protocol": "TCP", "port": 8265} in rule.get("ports", ())
    ]
    assert len(to_dashboard) == 1 and to_dashboard[0]["from"], "the dashboard is open to some only"


def test_kueues_objects_name_each_other() -> None:
    """Kueue's own schema is not at hand: this test knows the fields of its three kinds that are used."""
    flavor, queue, local = documents("kuberay/kueue.yaml")
    assert [document["kind"] for document in (flavor, queue, local)] == ["ResourceFlavor", "ClusterQueue", "LocalQueue"]
    assert {document["apiVersion"] for document in (flavor, queue, local)} == {"kueue.x-k8s.io/v1beta2"}
    assert local["spec"] == {"clusterQueue": queue["metadata"]["name"]}
    assert set(queue["spec"]) == {"namespaceSelector", "queueingStrategy", "resourceGroups"}
    (group,) = queue["spec"]["resourceGroups"]
    (quota,) = group["flavors"]
    assert quota["name"] == flavor["metadata"]["name"]
    assert [resource["name"] for resource in quota["resources"]] == group["coveredResources"]
    asked = {name for _, container in containers("kuberay/rayjob.yaml") for name in container["resources"]["requests"]}
    assert asked <= set(group["coveredResources"]), "Kueue admits no job that asks for a resource without a quota"
    for name in ("kuberay/raycluster.yaml", "kuberay/rayjob.yaml"):
        assert f"# labels: {{kueue.x-k8s.io/queue-name: {local['metadata']['name']}}}" in text(name)


@pytest.mark.parametrize("name", ["skypilot.yaml", "slurm.sh"])
def test_ray_takes_the_commands_of_a_wrapper(name: str) -> None:
    commands = list(ray_commands(text(name)))
    assert [problem for command in commands for problem in ray_command_problems(command)] == []
    if name == "slurm.sh":
        (command,) = re.findall(r"ray symmetric-run .*", text(name).replace("\\\n", ""))
        assert symmetric_run_problems(command) == []
    else:
        assert len(commands) == 2


def test_skypilot_takes_the_file() -> None:
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed")
    assert sky.Task.from_yaml(str(CLUSTER / "skypilot.yaml")).num_nodes == 2


def test_anyscale_takes_the_file() -> None:
    models = pytest.importorskip("anyscale.job.models", reason="Anyscale's client is not installed")
    assert models.JobConfig.from_yaml(str(CLUSTER / "anyscale.yaml")).max_retries == 3


# --- our rules for every file ---------------------------------------------------------------------------------------


def containers(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the container of each group of pods, with the group's name."""
    for manifest in documents(name):
        spec = ray_cluster(manifest)
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            (container,) = group["template"]["spec"]["containers"]
            yield group.get("groupName", "head"), container


@pytest.mark.parametrize("name", RAY_UP)
def test_machines_keep_our_rules(name: str) -> None:
    (config,) = documents(name)
    # A token guards Ray's ports; it comes from a file. The dashboard is on loopback.
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    options = config["docker"]["run_options"]
    assert {"--env=RAY_AUTH_MODE=token", "--env=RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0"} <= set(options)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in head
    # One image. Caches and spilled objects lie on NVMe, and Ray gives containers 30 % of the memory as /dev/shm.
    assert config["docker"]["image"] == IMAGE and text(name).count(IMAGE) == 1
    assert {"--env=DETOX_RAY_CACHE=/nvme/detox_ray", "--env=HF_HOME=/nvme/huggingface"} <= set(options)
    assert "--object-spilling-directory=/nvme/spill" in head and "--object-spilling-directory=/nvme/spill" in worker
    assert not config["docker"].get("disable_shm_size_detection")
    # The head is for drivers only.
    if name == "own-hosts.yaml":
        assert "--num-cpus=0" in head and "--resources='{\"driver\": 16}'" in head
        return
    head_type = config["available_node_types"][config["head_node_type"]]
    assert head_type["resources"] == {"CPU": 0, "driver": 16}
    # Workers on spot machines and on demand, none of which waits for work; ten minutes are longer than a pause.
    markets = {
        key: kind["labels"]["ray.io/market-type"]
        for key, kind in config["available_node_types"].items()
        if key != "head"
    }
    assert markets == {"spot": "spot", "on-demand": "on-demand"}
    assert all(kind.get("min_workers", 0) == 0 for kind in config["available_node_types"].values())
    assert config["idle_timeout_minutes"] == 10


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_keep_our_rules(name: str) -> None:
    (manifest,) = documents(name)
    spec = ray_cluster(manifest)
    assert spec["rayVersion"] == ray.__version__ and spec["authOptions"] == {"mode": "token"}
    assert spec["autoscalerOptions"] == {"version": "v2", "idleTimeoutSeconds": 600}
    head = spec["headGroupSpec"]["rayStartParams"]
    assert head["num-cpus"] == "0"
    if manifest["kind"] != "RayService":  # which has no drivers
        assert json.loads(json.loads(head["resources"])) == {"driver": 16}
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["rayStartParams"]["object-spilling-directory"] == "/nvme/spill"
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "detox-ray"
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        shared = volumes["shm"]["emptyDir"]
        assert shared["medium"] == "Memory"
        assert gibibytes(shared["sizeLimit"]) >= 0.3 * gibibytes(container["resources"]["limits"]["memory"])
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert container["image"] == IMAGE
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert environment["DETOX_RAY_CACHE"] == "/nvme/detox_ray" and environment["HF_HOME"] == "/nvme/huggingface"
        assert environment["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "0"
        assert "RAY_AUTH_TOKEN" not in environment
    if name != "kuberay/rayservice.yaml":
        assert text(name).count(IMAGE) == 1


def gibibytes(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) / (1024 if unit == "Mi" else 1)


def test_a_ray_job_ends_with_its_run_and_resumes() -> None:
    (job,) = documents("kuberay/rayjob.yaml")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] and spec["backoffLimit"] == 3
    assert spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"] > 0
    assert json.loads(spec["entrypointResources"]) == {"driver": 1}
    variables = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert variables == {"RAY_JOB_STOP_WAIT_TIME_S": "30", "DETOX_RAY_JOB": job["metadata"]["name"]}


def test_only_machines_of_ones_own_stop_every_ray() -> None:
    files = {path.name for path in CLUSTER.rglob("*") if path.is_file() and path.parent.name != "locks"}
    stopping = {name for name in files if any("- ray stop\n" in path.read_text() for path in CLUSTER.rglob(name))}
    assert stopping == set(RAY_UP)


# --- broken variants ------------------------------------------------------------------------------------------------


def set_in(document: Any, path: str, value: Any) -> None:
    *folders, last = path.split("/")
    for key in folders:
        document = document[int(key)] if isinstance(document, list) else document[key]
    document[last] = value


BROKEN: list[tuple[str, str, Any, Callable[[dict[str, Any]], list[str]], str]] = [
    ("aws.yaml", "idle_timeout_minuets", 10, ray_up_problems, "idle_timeout_minuets"),
    ("aws.yaml", "available_node_types/spot/resources/GPU", "four", ray_up_problems, "spot.resources.GPU"),
    ("aws.yaml", "head_node_type", "driver", ray_up_problems, "head_node_type"),
    ("aws.yaml", "available_node_types/spot/node_config/InstanceTyp", "g6e.xlarge", ray_up_problems, "InstanceTyp"),
    ("gcp.yaml", "available_node_types/spot/node_config/machineTyp", "a2", ray_up_problems, "node_config.machineTyp"),
    (
        "gcp.yaml",
        "available_node_types/spot/node_config/scheduling/provisioningModel",
        "CHEAP",
        ray_up_problems,
        "scheduling.provisioningModel",
    ),
    (
        "azure.yaml",
        "available_node_types/head/node_config/azure_arm_parameters/vmsize",
        "D8",
        ray_up_problems,
        "azure_arm_parameters.vmsize",
    ),
    ("own-hosts.yaml", "worker_start_ray_commands", ["ray start --addres=$HEAD"], ray_up_problems, "--addres"),
    ("own-hosts.yaml", "docker/container_name", "", ray_up_problems, "container & image name"),
    ("kuberay/raycluster.yaml", "spec/workerGroupSpecs/0/maxReplica", 3, kuberay_problems, "maxReplica"),
    ("kuberay/raycluster.yaml", "spec/rayVersion", "2.51.0", kuberay_problems, "rayVersion"),
    ("kuberay/raycluster.yaml", "spec/workerGroupSpecs/0/minReplicas", 13, kuberay_problems, "minReplicas"),
    (
        "kuberay/raycluster.yaml",
        "spec/headGroupSpec/rayStartParams/dashbord-host",
        "::",
        kuberay_problems,
        "--dashbord-host",
    ),
    ("kuberay/rayjob.yaml", "spec/backoffLimit", "three", kuberay_problems, "spec.backoffLimit"),
    ("kuberay/rayjob.yaml", "spec/shutdownAfterJobFinishes", False, kuberay_problems, "ttlSecondsAfterFinished"),
    ("kuberay/rayservice.yaml", "spec/serveConfig", "", kuberay_problems, "serveConfig"),
    ("kuberay/network-policy.yaml", "spec/ingress/1/port", 1, network_policy_problems, "'port' was unexpected"),
]


@pytest.mark.parametrize(("name", "path", "value", "check", "named"), BROKEN, ids=[row[1] for row in BROKEN])
def test_a_broken_file_is_refused_by_name(
    name: str, path: str, value: Any, check: Callable[[dict[str, Any]], list[str]], named: str
) -> None:
    (document,) = copy.deepcopy(documents(name))
    set_in(document, path, value)
    problems = check(document)
    assert problems and named in problems[0], problems


def test_the_readme_names_every_file_and_no_other() -> None:
    readme = text("README.md")
    named = set(re.findall(r"^\| .*?\| `([\w./-]+)` \|", readme, re.MULTILINE))
    files = {str(path.relative_to(CLUSTER)) for path in CLUSTER.rglob("*") if path.suffix in (".yaml", ".sh")}
    assert named == {name for name in files if Path(name).parts[0] != "locks" and name != "healthcheck.sh"}
