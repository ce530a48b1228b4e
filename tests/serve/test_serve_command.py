"""Messages of `detox-ray serve` if it ends before the service answers."""

import pytest
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.serve import launch


def test_interrupted_start_says_what_is_true_of_a_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "launch", interrupted)
    result = CliRunner().invoke(app, ["serve", "--model", "base=./model"])
    assert result.exit_code == 3
    assert result.stderr == "stopped: the service is not running; the same command starts it\n"
