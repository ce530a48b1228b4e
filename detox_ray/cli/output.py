"""The result of a command: tables for people, or rows as JSON or CSV for programs, on standard output.

With JSON or CSV, everything else that a command prints goes to standard error, so that a pipe carries only rows.
"""

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import IO, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from detox_ray.cli.terminal_tables import TerminalTable, draw, wrapped

UNLIMITED = 10_000  # cells of a line that goes to a file or a pipe


class Format(StrEnum):
    """The form of a command's result."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="For people: table. For programs, with exact numbers: json or csv.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


def write_anything(stream: io.TextIOWrapper) -> None:
    """Make a stream accept every character in any locale.

    Files and pipes get UTF-8, so that other programs read the right characters. A terminal shows "?" for a character
    that it cannot display.
    """
    stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


class Listing(NamedTuple):
    """The result of a command in all of its forms."""

    fields: Sequence[str]  # of a row, in JSON and CSV: they stay the same from version to version
    rows: Sequence[Mapping[str, Any]]
    tables: Sequence[TerminalTable | str]  # a string is a paragraph between tables
    document: Any = None  # printed as JSON instead of the rows, if the result is more than one list


class _PipedConsole(Console):
    """A console that leaves a closed pipe to `Output`. Rich's own would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """The destination of a result and of messages.

    Create it before the work begins: it keeps the standard output of that moment for rows.
    """

    def __init__(self, form: Format, as_json: bool = False):
        self._format = Format.JSON if as_json else form
        self._stdout = sys.stdout
        people = sys.stdout if self._format == Format.TABLE else sys.stderr
        self._console = _PipedConsole(file=people, width=UNLIMITED, highlight=False, markup=False, emoji=False)
        limited = people.isatty() or "COLUMNS" in os.environ
        self.width = Console(file=people).width if limited else UNLIMITED

    def say(self, text: str, style: str = "", indent: int = 2) -> None:
        """Print a line for people: to standard output if the result is a table, otherwise to standard error.

        Args:
            text: The line. It is wrapped at spaces, so that no number is cut.
            style: Rich's style of the whole line.
            indent: Spaces before the lines after the first.
        """
        with _until_closed(self._console.file):
            self._console.print(Text(wrapped(text, self.width, indent), style=style))

    def write(self, listing: Listing) -> None:
        """Write the result."""
        with _until_closed(self._stdout):
            self._write(listing)

    def _write(self, listing: Listing) -> None:
        if self._format == Format.TABLE:
            for number, table in enumerate(listing.tables):
                if number:
                    self._console.print()
                if isinstance(table, str):
                    self._console.print(Text("\n".join(wrapped(line, self.width, 2) for line in table.splitlines())))
                else:
                    draw(self._console, table, self.width)
        elif self._format == Format.JSON:
            content = list(listing.rows) if listing.document is None else listing.document
            print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False), file=self._stdout)
        else:
            writer = csv.writer(self._stdout, lineterminator="\n")
            writer.writerow(listing.fields)
            writer.writerows([_csv_cell(row[field]) for field in listing.fields] for row in listing.rows)

    @contextlib.contextmanager
    def kept_for_rows(self) -> Iterator[None]:
        """Redirect what other code prints in the block, such as workers' logs, to standard error if rows are wanted."""
        if self._format == Format.TABLE:
            yield
        else:
            with contextlib.redirect_stdout(sys.stderr):
                yield


@contextlib.contextmanager
def _until_closed(stream: IO[str]) -> Iterator[None]:
    """Ignore a pipe that closes while the block writes: `| head` closes it when it has read enough."""
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # discards further output, and what Python flushes at exit
        os.close(nowhere)


def _csv_cell(value: Any) -> Any:
    """Return a value as CSV holds it: null is empty, and a list is joined by "; "."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value
