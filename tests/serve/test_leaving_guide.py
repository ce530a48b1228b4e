"""Every command of docs/leaving-perspective.md runs, in the guide's order, against a local Perspective server.

The built-in world stands for what a machine without a network lacks: toy17-detoxify for textdetox-xlmr,
configs/toy17.yaml for configs/rtp-lx.yaml.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from perspective_server import Answer, serve
from service import serving
from test_gate import results, row
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.config import ScoreConfig
from detox_ray.config.loading import load

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "leaving-perspective.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
FILES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
(PYTHON,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
ELSEWHERE = ("serve", "validity", "gate")  # commands that tests below run by themselves
STAND_INS = {"textdetox-xlmr": "toy17-detoxify", "configs/rtp-lx.yaml": str(ROOT / "configs" / "toy17.yaml")}


def here(text: str) -> str:
    for name, stand_in in STAND_INS.items():
        text = text.replace(name, stand_in)
    return text


def invoke(command: str, *more: str) -> Result:
    program, *arguments = shlex.split(here(command))
    assert program == "detox-ray"
    return CliRunner().invoke(app, [*arguments, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the guide's files, as the current one; its commands up to the service have run there."""
    folder = tmp_path_factory.mktemp("leaving")
    english = yaml.safe_load((ROOT / "detox_ray/toy17/languages/en.yaml").read_text(encoding="utf-8"))
    insult = next(iter(english["insults"].values()))
    comments = [
        {"text": f"you {insult if number % 2 else 'friend'} {number}", "language": "en", "label": number % 2}
        for number in range(160)
    ]
    for name, rows in (("comments", comments), ("later", comments[:20])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    frozen, candidate, calibrated = FILES
    for name, text in (("frozen", frozen), ("candidate", candidate), ("calibrated", calibrated)):
        (folder / f"{name}.yaml").write_text(here(text), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("DETOX_RAY_CACHE", str(folder / "cache"))
        yield folder


def reply(body: dict[str, Any]) -> Answer:
    number = int(body["comment"]["text"].rpartition(" ")[2])
    value = (0.6 if number % 2 else 0.1) + number / 1000
    score = {name: {"summaryScore": {"value": value}} for name in body["requestedAttributes"]}
    return Answer(200, json.dumps({"attributeScores": score}).encode())


def test_the_commands_go_from_the_inventory_to_a_calibrated_successor(folder: Path) -> None:
    done: list[str] = []
    with serve(otherwise=reply) as server:
        for command in COMMANDS:
            kind = shlex.split(command)[1]
            if kind in ELSEWHERE:
                continue
            asking = kind == "archive" and "--dry-run" not in command
            options = ("--url", server.url, "--queries-per-second", "1000") if asking else ()
            result = invoke(command, *options)
            assert result.exit_code == 0, f"{command}: {result.output}"
            done.append(kind)
        assert len(server.requests) == 160
    assert done == ["archive", "archive", "scorers", "scorers", "score-file", "agreement", "score-file"]
    assert (folder / "agreement" / "index.html").is_file() and (folder / "agreement" / "agreement.csv").is_file()
    rows = pq.read_table(folder / "calibrated.parquet").to_pylist()
    assert {scored["calibrated.status"] for scored in rows} == {"ok"}
    for scored in rows:
        assert abs(scored["calibrated.toxicity"] - (0.68 if "friend" not in scored["text"] else 0.18)) < 0.12


def test_the_files_of_the_guide_are_scorers() -> None:
    for text in FILES:
        assert ScoreConfig.model_validate(yaml.safe_load(text)).names
    assert {shlex.split(command)[1] for command in COMMANDS} >= set(ELSEWHERE)


def test_the_table_answers_everything_that_is_asked() -> None:
    table = GUIDE.partition("## What a successor should offer")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    assert len(rows) == 2 + 5 and all(len(row) == 3 and all(row) for row in rows)


@pytest.mark.integration
def test_the_service_of_the_guide_answers_its_client(folder: Path, tmp_path: Path) -> None:
    if not (folder / "calibration.json").exists():
        pytest.skip("the commands before it did not run")
    (command,) = [command for command in COMMANDS if shlex.split(command)[1] == "serve"]
    option, file = shlex.split(command)[2:]
    with serving(f"{option}={folder / file}", tmp_path / "log") as service:
        names: dict[str, Any] = {}
        exec(PYTHON.replace("http://127.0.0.1:8000", service.url), names)
    assert 0 <= names["answer"]["attributeScores"]["TOXICITY"]["summaryScore"]["value"] <= 1


def test_the_gate_of_the_guide_judges_a_finished_run(folder: Path) -> None:
    (command,) = [command for command in COMMANDS if shlex.split(command)[1] == "gate"]
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    report = folder / "runs" / "toy17" / "report"
    report.mkdir(parents=True)
    document = results(row("average_toxicity", "macro", -0.3, 0.05))
    (report / "results.json").write_text(json.dumps(document), encoding="utf-8")
    judged = invoke(command)
    assert judged.exit_code == 4 and "gate: inconclusive, detox against base" in judged.output, judged.output


@pytest.mark.integration
@pytest.mark.slow
def test_the_validity_check_of_the_guide_runs(folder: Path) -> None:
    (command,) = [command for command in COMMANDS if shlex.split(command)[1] == "validity"]
    result = invoke(command)
    assert result.exit_code == 0, result.output
    languages = load(ROOT / "configs" / "toy17.yaml").languages
    assert all(code in result.output for code in languages)
