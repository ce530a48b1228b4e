"""The specification of a service from a run or from paths, and the files that a cluster deploys. No Ray."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from safetensors.numpy import save_file
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.config import ConfigError, InputError
from detox_ray.config.loading import validate
from detox_ray.serve import manifests, spec
from detox_ray.serve.spec import ServeArgs
from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS

SHIPPED_RAY_SERVICE = Path(__file__).parents[2] / "cluster/kuberay/rayservice.yaml"


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def adapter(folder: Path) -> None:
    """Write an adapter of a Llama's query projection beside the merged model."""
    (model_folder(folder.parent) / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}')
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {f"{name}.lora_A.weight": np.zeros((8, 4)), f"{name}.lora_B.weight": np.zeros((4, 8))}
    save_file(factors, folder / "adapter_model.safetensors")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Return a run: base, two LoRA-tuned models (one from the other), a fully tuned one, and an untrained `late`."""
    words = tmp_path / "words.yaml"
    words.write_text("en: [idiot]\n")
    base = model_folder(tmp_path / "base")
    (base / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    lora = {"parent": "base", "tuning": "lora"}
    experiment = validate(
        {
            "name": "run",
            "storage": str(tmp_path / "runs"),
            "languages": ["en", "ar"],
            "data": {
                "prompts": {"source": "file", "path": "p.jsonl"},
                "pairs": {"source": "file", "path": "p.jsonl"},
            },
            "models": {
                "base": {"path": str(base)},
                "lora": {"train": lora},
                "lora-on-lora": {"train": {**lora, "parent": "lora"}},
                "full": {"train": {"parent": "base"}},
                "late": {"train": {"parent": "base"}},
            },
            "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(words)}]},
            "serve": {"models": ["base", "lora", "lora-on-lora", "full"], "limits": {"n": 7}},
        }
    )
    store = Store.at(experiment.folder)
    store.write_bytes("experiment.yaml", experiment.to_yaml().encode())
    for name in ("lora", "lora-on-lora"):
        adapter(Path(store.path(f"checkpoints/{name}/adapter")))
    model_folder(Path(store.path("checkpoints/full")))
    for name in ("lora", "lora-on-lora", "full"):
        store.commit(CHECKPOINTS.unit(model=name), "k" * 16, None)
    return experiment.folder


def test_an_adapter_shares_its_parents_engine_and_all_others_have_their_own(run: str) -> None:
    found = spec.resolve(spec.arguments(run, (), (), ()))
    assert [spec.names for spec in found.engines] == [["base", "lora"], ["lora-on-lora"], ["full"]]
    assert found.parents == {"lora": "base", "lora-on-lora": "lora", "full": "base"}
    assert [scorer.name for scorer in found.scorers] == ["insults"] and found.primary == "insults"
    assert found.config.limits.n == 7 and found.runs == str(Path(run).parent)


def test_the_machines_that_the_run_asks_for_are_those_of_the_service(run: str) -> None:
    store = Store.at(run)
    experiment = yaml.safe_load(store.read_bytes("experiment.yaml"))
    experiment["cluster"] = {"gpus": 4, "gpus_per_node": 2, "wait_s": 60}
    store.write_bytes("experiment.yaml", yaml.safe_dump(experiment).encode())
    asked = spec.resolve(spec.arguments(run, (), (), ())).cluster
    assert (asked.gpus, asked.gpus_per_node, asked.wait_s) == (4, 2, 60)


def test_engines_are_not_shared_where_the_config_says_so_or_gives_the_model_one(run: str) -> None:
    apart = spec.resolve(spec.arguments(run, (), (), ["share_engines=false"]))
    assert [spec.names for spec in apart.engines] == [["base"], ["lora"], ["lora-on-lora"], ["full"]]
    own = spec.resolve(spec.arguments(run, (), (), ["engines.lora.replicas=2"]))
    engines = [(spec.names, spec.config.replicas) for spec in own.engines]
    assert engines == [(["base"], 1), (["lora", "lora-on-lora"], 2), (["full"], 1)]


def test_a_model_that_is_not_trained_and_one_that_does_not_exist_are_named(run: str) -> None:
    with pytest.raises(ConfigError) as error:
        spec.resolve(spec.arguments(run, (), (), ["models=[late, nope]"]))
    assert [(p.field, p.value) for p in error.value.problems] == [("serve.models", "late"), ("serve.models", "nope")]
    assert "is not trained yet" in str(error.value)


def test_models_by_name_and_path_with_ready_scorers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    folder = model_folder(tmp_path / "m")
    found = spec.resolve(spec.arguments(None, [f"a={folder}", f"b={folder}"], ["detoxify-original"], ["port=0"]))
    assert found.models == ["a", "b"] and found.primary == "detoxify-original" and found.runs is None


@pytest.mark.parametrize(
    ("models", "scorers", "field"),
    [
        ([], [], "run"),
        (["a"], [], "--model"),
        (["a=/nowhere"], [], "models.a.path"),
        (["a=/nowhere"], ["x"], "scorers.0"),
    ],
)
def test_wrong_arguments_are_refused_by_name(models: list[str], scorers: list[str], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        spec.resolve(spec.arguments(None, models, scorers, ()))
    assert field in [problem.field for problem in error.value.problems]


def test_an_override_after_models_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "serve.yaml"
    model = f"a={model_folder(tmp_path / 'm')}"
    result = CliRunner().invoke(app, ["serve", "--model", model, "limits.n=3", "--write-config", str(file)])
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(file.read_text())["applications"][0]["args"]["serve"]["limits"]["n"] == 3


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"with experiment\.yaml in it"):
        spec.arguments(str(tmp_path), (), (), ())


def test_the_written_config_is_serves_own_and_builds_the_same(run: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    result = CliRunner().invoke(app, ["serve", run, "limits.n=3", "--write-config", str(file)])
    assert result.exit_code == 0, result.output
    config = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text()))
    (application,) = config.applications
    args = ServeArgs.model_validate(application.args)
    assert application.import_path == manifests.IMPORT_PATH and args.run == run
    assert args.serve.limits.n == 3 and args.serve.host == "0.0.0.0"
    assert spec.resolve(args).models == ["base", "lora", "lora-on-lora", "full"]


def test_the_ray_service_holds_the_config_and_room_for_every_engine(run: str, tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    block = ["engines.full.max_replicas=3", "engine.tensor_parallel=2"]
    result = CliRunner().invoke(app, ["serve", run, *block, "--write-config", str(file), "--image", "example/detox:1"])
    assert result.exit_code == 0, result.output
    text = file.read_text()
    manifest = yaml.safe_load(text)
    assert "serveConfigV2: |\n" in text and "&id" not in text
    ServeDeploySchema.model_validate(yaml.safe_load(manifest["spec"]["serveConfigV2"]))
    assert manifest["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    (group,) = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (3, 5)
    (container,) = group["template"]["spec"]["containers"]
    assert container["image"] == "example/detox:1" and container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["key"] == "api-keys"


def test_the_shipped_ray_service_is_what_the_command_writes(run: str) -> None:
    """cluster/kuberay/rayservice.yaml: a base model and its adapter, in one engine; its first lines are a comment."""
    args = spec.arguments(run, (), (), ["models=[base,lora]", "engine.max_replicas=4", "limits.n=32"])
    in_a_bucket = args.model_copy(update={"run": "s3://my-bucket/runs/mgpt-dpo?region=us-west-2"})
    manifest = manifests.ray_service(in_a_bucket, spec.resolve(args), "registry.example.com/detox-ray:gpu")
    text = SHIPPED_RAY_SERVICE.read_text(encoding="utf-8")
    assert "".join(line for line in text.splitlines(True) if line[0] != "#") == manifests.to_yaml(manifest)
