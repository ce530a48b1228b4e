"""The command that lists the sets of items that suites use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from detox_ray.cli.arguments import Overrides
from detox_ray.cli.exit_codes import exit_codes
from detox_ray.cli.output import Format, FormatOption, JsonOption, Listing, Output
from detox_ray.cli.terminal_tables import Column, TerminalTable
from detox_ray.config.loading import opened
from detox_ray.suites import PresentItems, PublishedSet, present_items, published_sets


def suites(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="An experiment: list its sets on this machine.")
    ] = None,
    overrides: Overrides = None,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the sets of items that suites use, with languages, size, licence and origin, or those of CONFIG."""
    output = Output(form, as_json)
    with exit_codes():
        if config is None:
            _write_published(output)
        else:
            with opened(config, overrides or ()) as experiment:
                _write_present(output, present_items(experiment))


def _write_published(output: Output) -> None:
    sets = published_sets()
    paragraphs = [
        f"{entry.name} ({entry.suite}: {entry.source})\n"
        f"  {' '.join(entry.languages)}; {entry.size} a language\n"
        f"  licence: {entry.licence}; from {entry.origin}"
        for entry in sets
    ]
    rows = [{**entry._asdict(), "languages": list(entry.languages)} for entry in sets]
    output.write(Listing(PublishedSet._fields, rows, paragraphs))
    output.say("What is here of an experiment's sets: detox-ray suites CONFIG.")


def _write_present(output: Output, items: Sequence[PresentItems]) -> None:
    columns = (Column("set", "key"), Column("language", "key"), Column("items", "number"))
    cells = [(f"{entry.suite}: {entry.set}", entry.language, f"{entry.items:,}") for entry in items]
    table = TerminalTable("Items on this machine", columns, cells)
    output.write(Listing(PresentItems._fields, [entry._asdict() for entry in items], [table]))
