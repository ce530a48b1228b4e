"""Private names of other libraries stand in ..._internals.py; each of these modules states the version it is for."""

import ast
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "detox_ray"
INTERNALS = sorted(PACKAGE.rglob("*_internals.py"))
PUBLIC = {"_asdict", "_exit", "_fields", "_replace"}  # of NamedTuple and os, whatever the underscore says


def private_names(module: Path) -> list[str]:
    """Return the private modules that a module imports, and the private attributes that it takes from other objects."""
    names = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names += [part for part in (node.module or "").split(".") if part.startswith("_") or part == "experimental"]
            names += [
                alias.name for alias in node.names if alias.name.startswith("_") and not alias.name.endswith("__")
            ]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names += [] if is_own or node.attr in PUBLIC else [node.attr]
    return names


def test_no_other_module_uses_private_names() -> None:
    users = {
        str(module.relative_to(PACKAGE)): names
        for module in sorted(PACKAGE.rglob("*.py"))
        if module not in INTERNALS and (names := private_names(module))
    }
    assert users == {}


@pytest.mark.parametrize("module", INTERNALS, ids=lambda module: module.stem)
def test_each_states_the_installed_version(module: Path) -> None:
    """A new version fails here, so that whoever raises it reads the module again."""
    stated = re.search(r"as read in (\w+) ([\d.]+\d)", module.read_text(encoding="utf-8"))
    assert stated is not None
    library = stated[1].lower()
    for distribution in (library, f"{library}-cpu"):
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            continue
        assert installed == stated[2]
        return
    pytest.skip(f"{library} is not installed")
