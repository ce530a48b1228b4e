"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from detox_ray.config import ConfigError, Problem

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Dotted overrides, such as models.detox.train.beta=0.2."),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or URI, such as runs/toy17.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the workers' logs, and tracebacks.")]


def check_output(option: str, file: Path) -> None:
    """Raise ConfigError if the output file of an option cannot be written. Commands call this before they work."""
    from detox_ray.storage.local_files import why_unwritable

    if reason := why_unwritable(file):
        raise ConfigError([Problem(option, str(file), f"cannot be written: {reason}")])
