"""`detox-ray toy17`: the built-in world."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from detox_ray.cli.arguments import Verbose
from detox_ray.cli.exit_codes import exit_codes
from detox_ray.config import InputError

toy17_app = typer.Typer(
    help="The built-in world: 17 small languages, a tiny model, a tiny classifier.", no_args_is_help=True
)


@toy17_app.callback()
def _group() -> None:
    pass


@toy17_app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The new folder of the world.")],
    seed: Annotated[int, typer.Option(min=0, help="The world's seed.")] = 0,
    world: Annotated[Literal["plain", "stereotype"], typer.Option(help="Which world (data.world).")] = "plain",
    verbose: Verbose = False,
) -> None:
    """Build a world in FOLDER. This trains two small models and takes minutes.

    The plain world of seed 0 is part of the package. `detox-ray run` builds any other world that it needs.
    """
    with exit_codes(verbose):
        from detox_ray import toy17
        from detox_ray.cluster.progress import Progress

        if folder.exists():
            raise InputError(f"FOLDER: {folder} exists; name a new folder")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.absolute().parent) as scratch:
            unfinished = Path(scratch) / "world"
            with Progress().steps("build toy17") as steps:
                toy17.build(unfinished, seed, toy17.WORLDS[world], report=steps)
            unfinished.rename(folder)
        print(folder)
