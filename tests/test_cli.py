"""Bad input: a clear message and exit code 2 before Ray starts; good input: what the commands print."""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.cli.exit_codes import FAILED, STOPPED, exit_codes
from detox_ray.gate import read_spec
from detox_ray.run import pipeline
from detox_ray.score import ready_scorers
from detox_ray.storage import Store
from detox_ray.storage.lock import LockLost, run_lock

Call = Callable[..., Result]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Invoke the command line; starting Ray fails the test."""

    def no_ray(**_: Any) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(pipeline, "connect", no_ray)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Looks like a model; nothing here loads it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> Path:
    """A valid experiment on the user's own files."""
    prompts = [
        {"text": text, "language": code} for code, text in (("en", "You are"), ("ar", "أنت شخص"), ("ja", "君は"))
    ]
    pairs = [{"prompt": "You are", "chosen": " kind", "rejected": " an idiot"}]
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "insults.yaml").write_text("en: [idiot]\nar: [أحمق]\nja: [ばか]\n", encoding="utf-8")
    path = tmp_path / "experiment.yaml"
    experiment = {
        "name": "mine",
        "storage": str(tmp_path / "runs"),
        "languages": ["ar", "en", "ja"],
        "data": {
            "prompts": {"source": "file", "path": str(tmp_path / "prompts.jsonl")},
            "pairs": {"source": "file", "path": str(tmp_path / "pairs.jsonl")},
        },
        "models": {"base": {"path": str(model_folder)}, "tuned": {"train": {"parent": "base"}}},
        "generate": {"engine": "transformers"},
        "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(tmp_path / "insults.yaml")}]},
    }
    path.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    return path


def flat(result: Result) -> str:
    return re.sub(r"\s+", " ", result.output)


def test_valid_experiment_is_said_to_be_valid(call: Call, config: Path) -> None:
    result = call("validate", config)
    assert result.exit_code == 0, result.output
    assert "2 models, 3 languages" in result.output


def test_validate_names_the_hub_ids_that_it_did_not_look_up(call: Call, config: Path) -> None:
    assert "not looked up" not in call("validate", config).output
    options = ("models.published={path: org/tuned, parent: base}", "quality.fluency=[{name: e, path: org/evaluator}]")
    result = call("validate", config, *options)
    assert result.exit_code == 0, result.output
    assert "not looked up on the Hugging Face hub" in flat(result) and "org/tuned, org/evaluator" in flat(result)


@pytest.mark.parametrize(
    ("override", "field", "rule"),
    [
        ("generate.sampels=3", "generate.sampels", "unknown key"),
        ("languages=[en,tlh]", "languages.1", "unknown language"),
        ("data.prompts.path=/nowhere/prompts.jsonl", "data.prompts.path", "/nowhere/prompts.jsonl"),
        ("generate.samples=0", "generate.samples", "greater than or equal to 1"),
        ("models.tuned.train.parent=bse", "models.tuned.train.parent", "one of the models (base, tuned)"),
        ("models.base.path=/nowhere/model", "models.base.path", "existing folder"),
        ("score.scorers=[perspektive]", "score.scorers", "perspektive"),
        ("models.tuned.train.deepspeed=zero9", "models.tuned.train.deepspeed", "zero9"),
        ("storage=s3://key:secret@bucket/runs", "storage", "credentials do not belong in a URI"),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate", "score"])
def test_bad_input_ends_with_code_2_naming_field_and_rule(
    call: Call, config: Path, command: str, override: str, field: str, rule: str
) -> None:
    result = call(command, config, override)
    assert result.exit_code == 2, result.output
    assert field in flat(result) and rule in flat(result)
    assert "nothing was started" in flat(result)


def test_pairs_without_chosen_are_refused(call: Call, config: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "You are", "rejected": " an idiot"}\n')
    result = call("run", config)
    assert result.exit_code == 2
    assert "data.pairs.path" in flat(result) and "chosen" in flat(result) and "pairs.jsonl" in flat(result)


def test_corrupt_prompt_line_is_named_by_its_number(call: Call, config: Path, tmp_path: Path) -> None:
    with (tmp_path / "prompts.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "cut off\n')
    result = call("run", config)
    assert result.exit_code == 2
    assert "prompts.jsonl:4" in flat(result)
    assert call("validate", config, "data.on_error=skip").exit_code == 0


def test_model_folder_without_weights_is_refused(call: Call, config: Path, model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    result = call("run", config)
    assert result.exit_code == 2 and "without weights" in flat(result)


def test_pickled_weights_are_refused(call: Call, config: Path, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    result = call("run", config)
    assert result.exit_code == 2
    assert "pickled weights" in flat(result) and "pytorch_model.bin" in flat(result)


def test_storage_that_cannot_be_written_is_refused(call: Call, config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = call("run", config, f"storage={tmp_path / 'file'}")
    assert result.exit_code == 2 and "storage: cannot be written" in flat(result)


def test_all_problems_come_at_once(call: Call, config: Path) -> None:
    result = call("run", config, "generate.samples=0", "languages=[en,tlh]", "nmae=x", "measure.confidence=2")
    assert result.exit_code == 2
    assert "4 problems" in flat(result)


def test_unreadable_config_is_named(call: Call, tmp_path: Path) -> None:
    assert "missing.yaml" in flat(call("run", tmp_path / "missing.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [1,\n b: {")
    result = call("run", tmp_path / "broken.yaml")
    assert result.exit_code == 2 and "broken.yaml" in flat(result)


def test_folder_in_use_is_refused(call: Call, config: Path, tmp_path: Path) -> None:
    with run_lock(Store.at(str(tmp_path / "runs" / "mine"))):
        result = call("run", config)
    assert result.exit_code == 5 and "is in use by process" in flat(result)


def test_stage_alone_says_which_stage_it_needs(call: Call, config: Path) -> None:
    result = call("generate", config)
    assert result.exit_code == 2 and "detox-ray train CONFIG" in flat(result)


def test_show_of_something_else_is_refused(call: Call, tmp_path: Path) -> None:
    result = call("show", tmp_path)
    assert result.exit_code == 2 and "not a run's folder" in flat(result)


@pytest.mark.parametrize("command", ["show", "gate", "compare"])
def test_a_config_in_a_runs_place_is_wrong_input(call: Call, config: Path, command: str) -> None:
    result = call(command, config)
    assert result.exit_code == 2
    assert "is a file: give the run's folder" in flat(result)


def test_a_run_that_is_given_twice_is_named(call: Call, tmp_path: Path) -> None:
    result = call("compare", tmp_path / "a", tmp_path / "b", f"{tmp_path}/a/")
    assert result.exit_code == 2
    assert f"given more than once: {tmp_path}/a" in flat(result)


def test_help_names_every_command_and_the_exit_codes(call: Call) -> None:
    text = flat(call("--help"))
    commands = "run train generate score measure report validate show validity scorers gate compare leaderboard toy17"
    for word in (*commands.split(), "Exit codes"):
        assert word in text


def test_scorers_are_listed_as_objects(call: Call) -> None:
    listed = json.loads(call("scorers", "--json").stdout)
    assert {entry["name"]: entry["licence"] for entry in listed} == {
        name: entry.licence for name, entry in ready_scorers().items()
    }
    assert call("scorers", "--format", "json").stdout == call("scorers", "--json").stdout
    assert call("scorers", "--format", "csv").stdout.splitlines()[0].startswith("name,type,origin,attributes,languages")


def test_every_command_that_prints_a_table_prints_it_as_json_and_csv(call: Call) -> None:
    for command in ("run", "score", "plan", "show", "scorers", "validity", "gate", "compare", "leaderboard"):
        text = flat(call(command, "--help"))
        assert "--format" in text and "--json" in text, command


def test_scorers_are_listed_with_their_licence(call: Call) -> None:
    text = flat(call("scorers"))
    assert all(f"{name} (" in text for name in ready_scorers())
    assert text.count("licence:") == len(ready_scorers())


def test_validity_needs_labelled_text_and_known_scorers(call: Call, tmp_path: Path) -> None:
    config = Path(__file__).parents[1] / "configs" / "toy17.yaml"
    asked = ("--calibrate", "nobody", "--method", "magic", "--out", tmp_path)
    result = call("validity", config, f"storage={tmp_path}", "validity=null", *asked)
    assert result.exit_code == 2
    for field in (
        "validity: is required",
        "--calibrate: must be one of",
        "--method: must be isotonic or platt",
        "--out: cannot",
    ):
        assert field in flat(result)
    assert not (tmp_path / "toy17").exists()


DATA_PATHS = r"(data\.\w+|validity|bias\.sets\.\d+|ability\.prompts|knowledge)\.path"


def test_shipped_configs_lack_only_data_and_gpus(call: Call, tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "configs"
    assert read_spec(folder / "gate.yaml").toxicity is not None  # what a run must show, not an experiment
    for path in sorted(folder.glob("*.yaml")):
        if path.name == "gate.yaml":
            continue
        result = call("validate", path, f"storage={tmp_path}")
        fields = set(re.findall(r"^\s*([a-z][\w.-]+): ", result.output, re.MULTILINE))
        missing = {field for field in fields if re.fullmatch(DATA_PATHS, field)}
        missing |= {field for field in fields if re.fullmatch(r"models\..+\.train\.(autocast|dtype|tuning)", field)}
        assert fields == missing and result.exit_code == (2 if missing else 0), result.output


def test_a_run_that_lost_its_folder_has_stopped_and_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise LockLost("runs/mine is no longer held by this run")
    assert ended.value.exit_code == STOPPED
    assert capsys.readouterr().err == "stopped: runs/mine is no longer held by this run\n"


@pytest.mark.parametrize("commits", [True, False])
def test_only_a_command_that_commits_says_what_stays(commits: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in ((RuntimeError("the disk is full"), FAILED), (KeyboardInterrupt(), STOPPED)):
        with pytest.raises(typer.Exit) as ended, exit_codes(commits=commits):
            raise error
        assert ended.value.exit_code == code
        message = capsys.readouterr().err
        assert ("what was committed stays" in message) == commits
        assert "again" in message or "--verbose" in message  # what to do next


@pytest.mark.parametrize(
    ("command", "commits"), [("validate", False), ("plan", False), ("serve", False), ("run", True), ("score", True)]
)
def test_commands_know_whether_they_commit(
    call: Call, config: Path, command: str, commits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    places = ("run.pipeline.check", "run.pipeline.run", "estimate.estimate", "serve.spec.arguments")
    for place in places:
        monkeypatch.setattr(f"detox_ray.{place}", broken)
    result = call(command, config)
    assert result.exit_code == FAILED and "failed: the disk is full" in result.output
    assert ("what was committed stays" in result.output) == commits


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_named_with_what_to_do(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, exit_codes(commits=True):
        raise OSError(code, "Error writing bytes to file. Detail: [errno 28] No space left on device")
    assert ended.value.exit_code == FAILED
    assert "no space is left on the disk of the storage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("compare", "runs/one", "runs/two"), "--out"),
        (("agreement", "a.parquet", "b.parquet"), "--out"),
        (("agreement", "a.parquet", "b.parquet"), "--calibrate"),
        (("serve", "--scorer", "toy17-lexicon"), "--write-config"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_the_work(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], option: str
) -> None:
    def work(*_: Any, **__: Any) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr("detox_ray.run.comparison_page.labelled_results", work)
    monkeypatch.setattr("detox_ray.text_files.agreement.read_scores", work)
    monkeypatch.setattr("detox_ray.serve.spec.resolve", work)
    result = call(*command, option, "/proc/none/file")
    assert result.exit_code == 2, result.output
    assert f"{option}: cannot be written: No such file or directory" in flat(result)


def test_a_leaderboard_of_a_missing_folder_says_so(call: Call, tmp_path: Path) -> None:
    result = call("leaderboard", tmp_path / "nope")
    assert result.exit_code == 2 and "nope: does not exist: give the storage" in flat(result)
    assert "has no run with" in flat(call("leaderboard", tmp_path)), "the folder exists and is empty"


def test_a_file_that_cannot_be_written_is_named_without_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_codes():
        Path("/proc/none/page.html").write_text("a")
    assert "failed: /proc/none/page.html: No such file or directory" in capsys.readouterr().err
