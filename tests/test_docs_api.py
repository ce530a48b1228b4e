"""The names of docs/api/ and of the pages' Python examples exist; `make docs` imports neither."""

import ast
import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NAMES = [
    name
    for page in sorted((DOCS / "api").glob("*.md"))
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
]
EXAMPLES = [
    pytest.param(example, id=f"{page.name}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, example in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_reference_exists_and_is_described(name: str) -> None:
    assert resolve_name(name).__doc__


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_imports_what_exists(example: str) -> None:
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detox_ray"):
            module = import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
