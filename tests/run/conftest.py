"""One whole run for all tests of this folder: killed in the middle of a stage, and resumed."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_stage import LoudnessStage
from perspective_server import Answer, Server, error, scores, serve
from whole_run import SECRET, SECRETS, ended, experiment, finished, markers

from detox_ray.run.stages import STAGES


@pytest.fixture(scope="module", autouse=True)
def stage() -> Iterator[None]:
    """The example stage is registered, and every key that a run might use is the planted one."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, secret in SECRETS.items():
            patch.setenv(variable, secret)
        STAGES.append(LoudnessStage)
        yield
        STAGES.remove(LoudnessStage)


@pytest.fixture(scope="session")
def perspective() -> Iterator[Server]:
    """A Perspective server that repeats the key to whoever asks, in errors to every seventh text."""

    def reply(body: dict[str, Any]) -> Answer:
        refused = len(body["comment"]["text"]) % 7 == 0
        return error(400, f"no scores for {SECRET}") if refused else scores(*body["requestedAttributes"])

    with serve(otherwise=reply) as server:
        yield server


@pytest.fixture(scope="session")
def config(toy_world: Path, perspective: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment(toy_world, folder, perspective.url)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def resumed(config: Path) -> Path:
    """The folder of a run that was killed between two units; the same command carried it to its end."""
    folder = config.parent / "runs" / "small"
    code, messages = ended(signal.SIGKILL, r"loudness: [1-9]\d*/", "run", config)
    assert code == -signal.SIGKILL
    before = markers(folder)
    messages += finished("run", config)
    (folder.parent / "messages.txt").write_text(messages)
    assert before.items() <= markers(folder).items(), "what was committed is not made again"
    return folder
