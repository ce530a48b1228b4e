"""`detox-ray plan`: offline, on what is there and what is published; refusals that say what would fit."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.config.loading import load, validate
from detox_ray.data import experiment_data
from detox_ray.estimate import assumptions_for, estimate
from detox_ray.estimate.dimensions import model_config
from detox_ray.run.stages import registered

CONFIGS = Path(__file__).parents[2] / "configs"
EXPERIMENTS = sorted(file for file in CONFIGS.glob("*.yaml") if "models:" in file.read_text())
DIMENSIONS = {
    "model_type": "llama", "vocab_size": 1000, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512, "dtype": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "220")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An experiment on the user's own files; of the model there is a config.json only."""
    (tmp_path / "config.json").write_text(json.dumps(DIMENSIONS))
    prompts = [{"text": "Anna and Ben say", "language": "en"}] * 10
    pairs = [{"prompt": "You are", "chosen": " kind and honest", "rejected": " an idiot"}] * 40
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "insults.yaml").write_text("en: [idiot]\n")
    experiment = {
        "name": "mine", "storage": str(tmp_path / "runs"), "languages": ["en"],
        "data": {name: {"source": "file", "path": str(tmp_path / f"{name}.jsonl")} for name in ("prompts", "pairs")},
        "models": {
            "base": {"path": str(tmp_path / "config.json")},
            "tuned": {"train": {"parent": "base", "recipe": "paper", "max_length": 64, "max_prompt_length": 8,
                                "validation_fraction": 0.1, "max_steps": 10, "batch_size": 2}},
        },
        "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(tmp_path / "insults.yaml")}]},
    }  # fmt: skip
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def plan(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_counts_rows_and_tokens_of_the_data_that_is_there(config: Path) -> None:
    result = plan(config, "--json", "--device", "cpu", "--bytes-per-token", "4")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (training,) = document["trainings"]
    assert (training["rows"]["train"], training["rows"]["validation"]) == (36, 4)
    # "You are": 2 tokens of 4 bytes; with " kind and honest" 6, with " an idiot" 4; and an end token each
    assert training["rows"]["mean"] == pytest.approx((7 + 5) / 2)
    assert training["tokens"] == 10 * 2 * 2 * 7  # steps, pairs, sequences, padded to the longer
    assert document["prompts"]["rows"] == 10
    generated = [stage for stage in document["stages"] if stage["stage"] == "generate"]
    assert [stage["tokens"] for stage in generated] == [10 * 4 + 10 * 25 * 20] * 2
    assert document["estimate"] and document["fits"]
    assert not (config.parent / "runs").exists()  # nothing is written


def test_every_number_shown_stands_beside_its_assumption(config: Path) -> None:
    document = json.loads(plan(config, "--json").stdout)
    shown = [
        *document["stages"],
        *document["disk"],
        *document["engines"],
        *document["memory"],
        *document["models"].values(),
    ]
    shown += [part for training in document["trainings"] for part in training["memory"]["parts"]]
    shown += [training["rows"] for training in document["trainings"]] + [document["prompts"]]
    assert all(each["assumption"] for each in shown)
    text = plan(config).output
    assert "Every number is an estimate" in text and "40% of the peak" in text
    lines = " ".join(text.partition("Assumptions\n")[2].split())
    assert all(" ".join(each["assumption"].split()) in lines for each in shown)


def test_the_verdict_comes_first_and_the_assumptions_last(config: Path) -> None:
    lines = plan(config, "--price", "2.5").output.splitlines()
    assert lines[0].startswith("mine fits on 1 a100-80gb: ") and "GPU-hours, cost " in lines[0]
    titles = [line for line in lines if line.startswith(("Models", "Memory", "Time", "Disk", "Assumptions"))]
    assert [title.split()[0] for title in titles] == ["Models", "Memory", "Memory", "Time", "Disk", "Assumptions"]
    refused = plan(config, "--gpu-memory", "2.012", "models.tuned.train.deepspeed=zero0").output.splitlines()
    assert refused[0].startswith("mine does not fit (")
    assert refused[1].startswith("  models.base: must") or refused[1].startswith("  models.tuned.train: a worker must")


def test_the_cost_is_that_of_all_device_hours(config: Path) -> None:
    document = json.loads(plan(config, "--json", "--price", "2.5").stdout)
    assert document["cost"] == pytest.approx(2.5 * document["device_hours"])
    assert document["assumptions"]["price"].startswith("2.5 a GPU-hour")
    assert json.loads(plan(config, "--json").stdout)["cost"] is None
    assert "--price: must be above 0" in plan(config, "--price", "0").output


def test_work_that_cannot_be_estimated_is_named_in_the_verdict(config: Path, tmp_path: Path) -> None:
    scorer = "{name: unknown, type: classifier, path: nobody/knows-this, attributes: {toxicity: toxic}}"
    result = plan(config, f"score.scorers=[{scorer}]")
    assert "without scores of unknown, not estimated" in " ".join(result.output.split()), result.output


def test_tables_are_whole_at_80_columns(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = yaml.safe_load(config.read_text())
    long = "meta-llama_Meta-Llama-3.1-70B-Instruct"
    raw["models"] = {long: raw["models"]["base"], f"{long}-detox": raw["models"]["tuned"]}
    raw["models"][f"{long}-detox"]["train"]["parent"] = long
    config.write_text(yaml.safe_dump(raw))
    monkeypatch.setenv("COLUMNS", "80")
    text = plan(config).output
    document = json.loads(plan(config, "--json").stdout)
    assert not [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()], "only a path is longer"
    assert "…" not in text
    (training,) = document["trainings"]
    for part in training["memory"]["parts"]:
        size = part["bytes"] / 2**20
        number = f"{size:.1f} MiB" if size >= 1 else f"{size * 1024:.1f} KiB"
        assert any(part["name"] in line and number in line for line in text.splitlines()), part


def test_csv_has_the_numbers_of_the_document(config: Path) -> None:
    document = json.loads(plan(config, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(plan(config, "--format", "csv").stdout)))
    values = {(row["table"], row["of"], row["name"]): row["value"] for row in rows}
    assert len(values) == len(rows)
    assert float(values["total", "", "time"]) == document["hours"]
    assert values["total", "", "cost"] == ""
    for name, model in document["models"].items():
        assert int(values["parameters", name, "parameters"]) == model["parameters"]
    for part in document["trainings"][0]["memory"]["parts"]:
        assert int(values["memory", "tuned", part["name"]]) == part["bytes"]
    for stage in document["stages"]:
        assert float(values["time", stage["stage"], stage["what"]]) == stage["hours"]
    for space in document["disk"]:
        assert float(values["disk", "", space["name"]]) == space["bytes"]


def test_data_is_read_once_for_all_trainings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read_pairs = experiment_data.read_pairs
    monkeypatch.setattr(experiment_data, "read_pairs", lambda *given: reads.append(given) or read_pairs(*given))
    raw = yaml.safe_load(config.read_text())
    raw["models"]["other"] = {"train": {**raw["models"]["tuned"]["train"], "beta": 0.3}}
    experiment = validate(raw)
    assert len(estimate(experiment, assumptions_for(experiment), registered()).trainings) == 2
    assert len(reads) == 1


def test_what_cannot_fit_is_refused_with_changes_that_were_tried(config: Path) -> None:
    result = plan(config, "--gpu-memory", "2.012", "models.tuned.train.deepspeed=zero0")  # 12 MiB beside the reserve
    assert result.exit_code == 2
    assert "models.tuned.train: a worker must fit 0.0 GiB; what would fit:" in result.output
    document = json.loads(plan(config, "--gpu-memory", "2.012", "models.tuned.train.deepspeed=zero0", "--json").stdout)
    (training,) = document["trainings"]
    assert training["memory"]["device_bytes"] > training["memory"]["limit_bytes"] and training["advice"]
    for advice in training["advice"]:  # what is advised is what was asked for
        changes = [f"models.tuned.train.{name}={value}" for name, value in advice["changes"].items()]
        changed = plan(config, "--gpu-memory", "2.012", "models.tuned.train.deepspeed=zero0", *changes)
        assert "models.tuned.train:" not in changed.output and "models.base: " in changed.output  # vLLM fits neither
    assert "--gpus" in plan(config, "--gpus", "1", "models.tuned.train.workers=2").output


def test_options_are_checked_and_a_cpu_refuses_what_needs_a_gpu(config: Path) -> None:
    assert "--device: must be one of" in plan(config, "--device", "abacus").output
    assert "--mfu: must be above 0" in plan(config, "--mfu", "0").output
    refused = plan(config, "--device", "cpu", "models.tuned.train.dtype=bfloat16")
    assert refused.exit_code == 2 and "bfloat16 needs GPU workers" in refused.output
    unknown = plan(config, "models.base.path=nobody/knows-this")
    assert unknown.exit_code == 2 and "or give a folder as path" in unknown.output


def test_twice_the_speed_is_half_the_time(config: Path) -> None:
    slow, fast = (
        json.loads(plan(config, "--json", "--tflops", tflops, "--start-seconds", "1e-9").stdout)["stages"][0]["hours"]
        for tflops in ("0.001", "0.002")
    )
    assert slow == pytest.approx(2 * fast, rel=1e-6)


def test_toy17_is_planned_without_its_world() -> None:
    document = json.loads(plan(CONFIGS / "toy17.yaml", "--json").stdout)
    assert document["fits"] and document["assumptions"]["device"].startswith("cpu")
    assert document["models"]["base"]["parameters"] == pytest.approx(1.2e6, rel=0.05)
    assert document["trainings"][0]["steps"] == 60


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_dimensions_of_every_shipped_experiment_are_known_offline(file: Path) -> None:
    for name, model in load(file).models.items():
        if model.path is not None:
            assert model_config(name, model.path, model.revision, None).config["model_type"]


@pytest.mark.parametrize(
    ("name", "gpus", "less"),
    [
        pytest.param("llama3.1-70b", 32, ["models.detox.train.deepspeed=zero2"], marks=pytest.mark.slow),
        ("llama3.1-70b-qlora", 8, ["generate.tensor_parallel=1"]),
        ("aya-expanse-32b", 16, ["models.detox.train.workers=4"]),
        ("aya-expanse-32b-qlora", 8, ["--gpu-memory", "24"]),
    ],
)
def test_large_models_fit_as_shipped_and_not_on_less(name: str, gpus: int, less: list[str]) -> None:
    """ZeRO-3 over nodes of eight, QLoRA on one node, generation by tensor parallelism of eight; GPUs of 80 GB."""
    document = json.loads(plan(CONFIGS / f"{name}.yaml", "--device", "h100", "--json").stdout)
    (training,) = document["trainings"]
    assert document["fits"] and training["workers"] == gpus
    assert plan(CONFIGS / f"{name}.yaml", "--device", "h100", *less).exit_code == 2


def test_seeds_are_estimated_once_and_share_the_reference(config: Path) -> None:
    raw = yaml.safe_load(config.read_text())
    raw["models"]["tuned"]["train"] |= {"seeds": [0, 1, 2], "recipe": "fast"}
    del raw["models"]["tuned"]["train"]["max_prompt_length"]
    experiment = validate(raw)
    estimated = estimate(experiment, assumptions_for(experiment), registered())
    (training,) = estimated.trainings
    assert training.names == ["tuned-seed0", "tuned-seed1", "tuned-seed2"]
    whats = [stage.what for stage in estimated.stages if stage.stage == "train"]
    assert sum("reference" in what for what in whats) == 1
    assert sum("training" in what for what in whats) == 3


@pytest.mark.parametrize(("size", "weights"), [("8B", 16.1), ("70B", 141.1)])
def test_explain_holds_a_model_per_device_or_spreads_it(config: Path, size: str, weights: float) -> None:
    """By arithmetic, in bfloat16: 8B on one GPU, with its parent for transplants; 70B on several."""
    wide = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    small = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    shape = {**(wide if size == "70B" else small), "num_key_value_heads": 8, "vocab_size": 128256}
    (config.parent / "config.json").write_text(json.dumps({**DIMENSIONS, **shape, "dtype": "bfloat16"}))
    raw = yaml.safe_load(config.read_text())
    raw["models"] = {"base": raw["models"]["base"], "tuned": {**raw["models"]["base"], "parent": "base"}}
    raw["explain"] = {"batch_tokens": 4096, "engine": "transformers"}
    raw["generate"] = {"tensor_parallel": 4}
    config.write_text(yaml.safe_dump(raw))
    on = ("--device", "h100", "--gpus", "8")
    document = json.loads(plan(config, "--json", *on).stdout)
    base, tuned = document["memory"]
    assert (base["what"], tuned["what"]) == ("base", "tuned")
    assert 1 < base["bytes"] / (weights * 1e9) < 1.15, "at most 15 % beside the weights"
    assert 2 < tuned["bytes"] / (weights * 1e9) < 2.15, "a transplant on transformers holds the parent, too"
    assert (base["fits"], tuned["fits"]) == ((True, True) if size == "8B" else (False, False))
    if size == "70B":
        assert any("explain.gpus_per_model" in problem["rule"] for problem in document["problems"])
        spread = json.loads(plan(config, "explain.gpus_per_model=6", "--json", *on).stdout)
        assert all(held["fits"] for held in spread["memory"]) and spread["fits"]
    assert "Memory of other stages" in plan(config, *on).output
