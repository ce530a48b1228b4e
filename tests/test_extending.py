"""The examples of docs/extending.md are files that tests run, or are run here."""

import re
from pathlib import Path

import pytest

from detox_ray.models import families
from detox_ray.models.families import Family, family_of

TESTS = Path(__file__).parent
GUIDE = (TESTS.parent / "docs" / "extending.md").read_text(encoding="utf-8")
# Section of the guide -> the file that its code is taken from, and that other tests run.
SOURCES = {
    "A scorer": "score/other_package/shouting.py",
    "A metric": "measure/completion_length.py",
    "A stage": "run/example_stage.py",
    "A source of data": "data/other_package/example_source.py",
}


def code(section: str) -> list[str]:
    text = GUIDE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_every_section_is_checked() -> None:
    assert set(re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)) == {*SOURCES, "A family of models"}


@pytest.mark.parametrize("section", SOURCES)
def test_code_of_the_guide_is_that_of_a_tested_file(section: str) -> None:
    source = (TESTS / SOURCES[section]).read_text(encoding="utf-8")
    blocks = code(section)
    assert blocks and all(block.strip() in source for block in blocks)


def test_the_family_of_the_guide_is_found_by_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = code("A family of models")
    family = eval(block, {"Family": Family})
    assert family_of("olmo2").li2024 is None
    monkeypatch.setitem(families.FAMILIES, family.model_type, family)
    assert family_of("olmo2") is family and "down_proj" in family.li2024
