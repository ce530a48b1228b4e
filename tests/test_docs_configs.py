"""The YAML of README.md and docs/ is valid: experiments, blocks of one, gates' specifications, files of scorers."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detox_ray.config import Experiment, ScoreConfig
from detox_ray.config.loading import load, validate
from detox_ray.gate import read_spec

ROOT = Path(__file__).parents[1]
# What completes a block: the fields that every experiment must have.
REST: dict[str, Any] = {
    "name": "mine",
    "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
    "models": {"base": {"path": "toy17"}, "detox": {"train": {"parent": "base"}}},
    "score": {"scorers": ["textdetox-xlmr"]},
}
ELSEWHERE = {"extending.md"}  # names a scorer of another package; tests/test_extending.py runs its examples


def excerpts() -> list[tuple[str, str]]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        (f"{page.name}-{number}", text)
        for page in pages
        if page.name not in ELSEWHERE
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in excerpts()])
def test_an_excerpt_is_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(text)
    file = tmp_path / "excerpt.yaml"
    file.write_text(text.replace("configs/", f"{ROOT}/configs/"), encoding="utf-8")
    if content.keys() & {"toxicity", "margins"}:
        read_spec(file)
    elif "scorers" in content:
        ScoreConfig.model_validate(content)
    elif "extends" in content or {"name", "data", "models", "score"} <= content.keys():
        load(file)
    else:
        assert content.keys() <= Experiment.model_fields.keys()
        validate(REST | content)
