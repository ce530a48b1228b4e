"""Layout of tables: what stays whole at any width, what wraps, and how columns share out to blocks."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from detox_ray.cli.terminal_tables import Column, TerminalTable, bounded, draw, wrapped

COLUMNS = (
    Column("language", "key"),
    *(Column(name, "number") for name in ("AUROC", "average precision", "calibration error")),
    Column("verdict", "word"),
    Column("note"),
)


def drawn(table: TerminalTable, width: int) -> list[str]:
    text = io.StringIO()
    draw(Console(file=text, width=10_000), table, width)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def row(language: str, note: str = "") -> tuple[str, ...]:
    intervals = (bounded(0.5, 0.4, 0.6), bounded(-0.123, -0.21, -0.036), bounded(0.1, 0, 0.2))
    return (language, *intervals, "inconclusive", note)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_intervals_are_whole_at_every_width(width: int) -> None:
    rows = [row(language, "no evidence in this language, as its texts are too few") for language in ("ar", "zh")]
    lines = drawn(TerminalTable("A title that is longer than forty cells of a terminal", COLUMNS, rows), width)
    assert max(map(cell_len, lines)) <= width
    for interval in ("0.500 [0.400, 0.600]", "-0.123 [-0.210, -0.036]", "0.100 [0.000, 0.200]", "inconclusive"):
        assert sum(interval in line for line in lines) == 2
    assert "…" not in "".join(lines)


def test_keys_are_repeated_in_every_block() -> None:
    lines = drawn(TerminalTable("", COLUMNS, [row("ar"), row("zh")]), 60)
    assert sum(line.startswith("language") for line in lines) == 2
    assert sum(line.startswith("ar ") for line in lines) == 2


def test_a_wide_terminal_gets_one_block_and_no_empty_column() -> None:
    lines = drawn(TerminalTable("", COLUMNS, [row("ar"), row("zh")]), 200)
    assert len(lines) == 4
    assert "note" not in lines[0]


def test_numbers_wider_than_the_terminal_are_not_cut() -> None:
    lines = drawn(TerminalTable("", COLUMNS, [row("ar")]), 20)
    assert any("-0.123 [-0.210, -0.036]" in line for line in lines)


def test_long_keys_fold_so_that_numbers_stand_beside_them() -> None:
    name = "meta-llama/Meta-Llama-3.1-70B-Instruct"
    table = TerminalTable("", (Column("model", "key"), Column("difference", "number")), [(name, bounded(-1, -2, 0))])
    lines = drawn(table, 50)
    assert max(map(cell_len, lines)) <= 50
    assert any(re.match(r"meta-llama\S* +-1.000 \[-2.000, 0.000\]$", line) for line in lines)
    assert "".join(line.split()[0] for line in lines[2:]) == name


def test_cells_of_wide_characters_are_counted_as_they_are_shown() -> None:
    table = TerminalTable(
        "", (Column("text"), Column("n", "number")), [("君はばかだと言われたくない人々" * 2, "12345")]
    )
    lines = drawn(table, 40)
    assert max(map(cell_len, lines)) <= 40
    assert any(line.endswith("12345") for line in lines)


def test_markup_of_the_user_is_shown_as_it_is() -> None:
    assert "[red]" in drawn(TerminalTable("", (Column("name", "key"),), [("[red]",)]), 80)[-1]


def test_a_sentence_wraps_around_its_interval() -> None:
    lines = wrapped("toxicity of base 0.5, of detox 0.1; difference -0.400 [-0.410, -0.390]", 60).splitlines()
    assert lines == ["toxicity of base 0.5, of detox 0.1; difference", "-0.400 [-0.410, -0.390]"]
