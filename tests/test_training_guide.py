"""docs/training.md says what is there: every field, every loss, the recipes as they are; and its examples are valid."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from detox_ray.config import LoraConfig, TrainConfig
from detox_ray.config.loading import validate
from detox_ray.config.recipes import LOSSES, RECIPES

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
CODE = {word for code in re.findall(r"`([^`\n]+)`", GUIDE) for word in re.findall(r"[\w-]+", code)}
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("field", [*TrainConfig.model_fields, *LoraConfig.model_fields, "seeds"])
def test_every_field_is_explained(field: str) -> None:
    used = {name for example in EXAMPLES for name in re.findall(r"[\w-]+(?=:)", example)}
    assert field in CODE | (used & {"parent", "r", "alpha", "dropout"})


def test_every_method_stands_with_its_losses_in_their_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|", GUIDE.partition("## Recipes")[0], re.MULTILINE)
    assert {method: tuple(re.findall(r"`([^`]+)`", losses)) for method, losses in rows[1:]} == LOSSES


def test_the_recipes_table_is_the_recipes() -> None:
    table = GUIDE.partition("## Recipes")[2].partition("## Data")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|", table, re.MULTILINE)

    def value(cell: str) -> Any:
        return yaml.safe_load(cell.strip("`"))

    stated: dict[str, dict[str, Any]] = {"paper": {}, "fast": {}}
    for field, paper, fast in rows:
        for recipe, cell in (("paper", paper), ("fast", fast)):
            if cell != "–":
                stated[recipe][field] = value(cell)
    assert stated == RECIPES


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_are_valid(example: str) -> None:
    toy: dict[str, Any] = {"source": "toy17"}
    rest = {"name": "mine", "data": {"prompts": toy, "pairs": toy}, "score": {"scorers": ["toy17-lexicon"]}}
    validate(rest | yaml.safe_load(example))


def test_the_sweep_makes_as_many_models_as_it_says() -> None:
    example = next(example for example in EXAMPLES if "seeds" in example)
    toy = {"source": "toy17"}
    rest = {"name": "mine", "data": {"prompts": toy, "pairs": toy}, "score": {"scorers": ["toy17-lexicon"]}}
    assert len(validate(rest | yaml.safe_load(example)).models) == 1 + 12


def test_the_configs_it_lists_are_the_shipped_ones() -> None:
    table = GUIDE.partition("## The papers' experiments")[2].partition("Where a paper's text")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)}
    shipped = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert listed == {name for name in shipped if not name.startswith("toy17")} - {"gate", "rtp-lx"}
