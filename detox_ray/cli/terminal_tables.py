"""Tables for a terminal of any width: numbers stay whole, text wraps, and columns that do not fit start another block.

If a table is too wide, Rich narrows all columns alike and cuts their content, including numbers. So this module decides
the width of each column, and Rich draws the table.
"""

import re
import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

Kind = Literal["key", "number", "word", "text"]
Cell = str | Text  # a string is shown as it is, without markup

KEY_WIDTH = 24  # a longer key, such as a model's name, is folded if its block has no room for it
TEXT_WIDTH = 20  # the least width to which a longer text is wrapped
GAP = 2  # between two columns
INTERVAL = re.compile(r"[-+\d.]+ \[[-+\d., ]+\]")  # a number with its interval, which stay on one line
NO_BREAK_SPACE = "\xa0"


class Column(NamedTuple):
    """A column. A ``key`` names what a row is about and comes first in each block.

    A ``number`` and a ``word`` are never wrapped; a ``text`` is.
    """

    title: str
    kind: Kind = "text"


class TerminalTable(NamedTuple):
    """A table for people. A cell in a column of numbers holds a number, its interval and its unit."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def draw(console: Console, table: TerminalTable, width: int) -> None:
    """Print a table in at most ``width`` cells, or in as many as a row's keys and one number need."""
    if table.title:
        console.print(Text(wrapped(table.title, width), style="italic"))
    for number, places in enumerate(_blocks(table, width)):
        if number:
            console.print()
        console.print(_block(table, places, width))


def wrapped(text: str, width: int, indent: int = 0) -> str:
    """Wrap a text at spaces, except within an interval. Lines after the first are indented by ``indent`` more."""
    margin = len(text) - len(text.lstrip(" "))
    kept = INTERVAL.sub(lambda match: match.group().replace(" ", NO_BREAK_SPACE), text.lstrip(" "))
    lines = textwrap.wrap(
        kept,
        max(width, margin + indent + 1),
        initial_indent=" " * margin,
        subsequent_indent=" " * (margin + indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(NO_BREAK_SPACE, " ")


def bounded(value: float | None, low: float | None, high: float | None, sign: Literal["", "+"] = "") -> str:
    """Format a value with its interval. ``sign`` "+" also shows the sign of positive numbers."""
    if value is None:
        return "–"
    number = f"{value:{sign}.3f}"
    return number if low is None or high is None else f"{number} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _blocks(table: TerminalTable, width: int) -> list[list[int]]:
    """Divide the columns, by index, into blocks that fit ``width``. Text columns without any text are left out."""
    least = [_least_width(table, place) for place in range(len(table.columns))]
    keys = [place for place, column in enumerate(table.columns) if column.kind == "key"]
    blocks, room = [list(keys)], width - sum(least[place] + GAP for place in keys)
    for place, column in enumerate(table.columns):
        if column.kind == "key" or (column.kind == "text" and not any(_width(row[place]) for row in table.rows)):
            continue
        if least[place] > room and blocks[-1] != keys:
            blocks.append(list(keys))
            room = width - sum(least[key] + GAP for key in keys)
        blocks[-1].append(place)
        room -= least[place] + GAP
    return blocks


def _block(table: TerminalTable, places: Sequence[int], width: int) -> Table:
    """Lay out some columns of a table: each gets its least width, then what it lacks, those that lack least first."""
    widths = {place: _least_width(table, place) for place in places}
    lacks = {place: _full_width(table, place) - widths[place] for place in places}
    room = width - sum(widths.values()) - GAP * (len(places) - 1)
    for count, place in enumerate(sorted(places, key=lacks.__getitem__)):
        share = max(0, min(lacks[place], room // (len(places) - count)))
        widths[place] += share
        room -= share
    block = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, header_style="bold")
    for place in places:
        column = table.columns[place]
        block.add_column(
            Text(column.title),
            justify="right" if column.kind == "number" else "left",
            width=widths[place],
            overflow="fold",
            vertical="top",
        )
    for row in table.rows:
        block.add_row(*(row[place] if isinstance(row[place], Text) else Text(str(row[place])) for place in places))
    return block


def _least_width(table: TerminalTable, place: int) -> int:
    column = table.columns[place]
    longest = max((_width(row[place]) for row in table.rows), default=0)
    limit = {"key": KEY_WIDTH, "text": TEXT_WIDTH}.get(column.kind, longest)
    return max(min(longest, limit), *map(cell_len, column.title.split()))


def _full_width(table: TerminalTable, place: int) -> int:
    return max(cell_len(table.columns[place].title), *(_width(row[place]) for row in table.rows), 0)


def _width(cell: Cell) -> int:
    text = cell.plain if isinstance(cell, Text) else cell
    return max(map(cell_len, text.splitlines()), default=0)
