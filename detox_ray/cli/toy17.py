"""The command `toy17 build`."""

from typing import Annotated

import typer

from detox_ray.cli.arguments import Verbose
from detox_ray.cli.exit_codes import exit_codes


def build(seed: Annotated[int, typer.Option(min=0, help="The world's seed.")] = 0, verbose: Verbose = False) -> None:
    """Build the world into the cache ($DETOX_RAY_CACHE, else ~/.cache/detox_ray) and print its folder.

    `detox-ray run` does this by itself when a config names toy17.
    """
    with exit_codes(verbose):
        from detox_ray import toy17
        from detox_ray.cluster.progress import Progress

        with Progress().steps("build toy17") as steps:
            folder = toy17.ensure(seed=seed, report=steps)
        print(folder)
