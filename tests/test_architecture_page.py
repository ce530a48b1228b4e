"""docs/architecture.md says what is there: rooms, the order of their imports, tables, and the keys of results.json."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from detox_ray.tables import COMPARISONS, METRICS, TABLES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "detox_ray"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in section(heading).split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def imported_rooms(room: str) -> Iterator[str]:
    """Yield the other rooms that a room's modules import."""
    for file in [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module == "detox_ray":
                modules = [f"detox_ray.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            own = [module.split(".")[1] for module in modules if module.startswith("detox_ray.")]
            yield from (other for other in own if other not in (room, "__version__"))


def test_every_room_stands_in_the_list_and_imports_only_what_stands_beside_or_below() -> None:
    levels = {room: level for level, row in enumerate(rows("Rooms")) for room in names(row[0])}
    paths = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert set(levels) == {path.stem for path in paths} - {"__init__"}
    upward = [(room, other) for room in levels for other in imported_rooms(room) if levels[other] < levels[room]]
    assert upward == []


def test_every_table_stands_with_its_partitions() -> None:
    stated = {
        table: tuple(re.findall(r"\w+", partitions))
        for tables, partitions, _ in rows("Tables")
        for table in names(tables)
    }
    assert stated == {table: keys for table, (_, keys) in TABLES.items()}


def test_the_keys_of_results_json_stand_in_their_order() -> None:
    top, *columns = (
        section("Names that people and tools rely on").partition("`report/results.json` holds")[2].split("\n- ")
    )
    module = ast.parse((PACKAGE / "report" / "results.py").read_text(encoding="utf-8"))
    document = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "document")
    keys = next(node.value for node in document.body if isinstance(node, ast.Return))
    assert isinstance(keys, ast.Dict)
    assert names(top) == [key.value for key in keys.keys if isinstance(key, ast.Constant)]
    schemas: dict[str, pa.Schema] = {"metrics": METRICS, "comparisons": COMPARISONS}
    assert {table: listed for table, *listed in map(names, columns)} == {t: s.names for t, s in schemas.items()}
