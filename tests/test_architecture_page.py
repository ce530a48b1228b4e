"""docs/architecture.md says what is there: rooms, the order of their imports, tables, and the keys of results.json."""

import ast
import re
import tomllib
from pathlib import Path

import pyarrow as pa

from detox_ray.storage import Table, tables
from detox_ray.storage.tables import COMPARISONS, METRICS

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


def test_the_rooms_stand_in_the_order_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert [names(row[0]) for row in rows("Rooms")] == [re.split(" [|:] ", layer) for layer in layers]
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for row in rows("Rooms") for room in names(row[0])} == packages


def test_every_table_stands_with_its_keys() -> None:
    stated = {table: tuple(re.findall(r"\w+", keys)) for listed, keys, _ in rows("Tables") for table in names(listed)}
    defined = [table for table in vars(tables).values() if isinstance(table, Table) and table.schema is not None]
    assert stated == {table.name: table.keys for table in defined}


def test_the_keys_of_results_json_stand_in_their_order() -> None:
    top, *columns = (
        section("Names that people and tools rely on").partition("`report/results.json` has the keys")[2].split("\n- ")
    )
    module = ast.parse((PACKAGE / "report" / "results.py").read_text(encoding="utf-8"))
    document = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "document")
    keys = next(node.value for node in document.body if isinstance(node, ast.Return))
    assert isinstance(keys, ast.Dict)
    assert names(top) == [key.value for key in keys.keys if isinstance(key, ast.Constant)]
    schemas: dict[str, pa.Schema] = {"metrics": METRICS.columns, "comparisons": COMPARISONS.columns}
    assert {table: listed for table, *listed in map(names, columns)} == {t: s.names for t, s in schemas.items()}
