"""The command line `detox-ray`: its commands, in the order of its help, and its start.

A command parses its options, calls a room, and prints the result. Each module of this package holds a group of
commands.
"""

import inspect
import io
import os
import sys
from typing import Annotated

import typer

from detox_ray import __version__
from detox_ray.cli.experiments import plan, run, stage_commands, validate
from detox_ray.cli.help_text import reflowed
from detox_ray.cli.jobs import jobs_app, submit
from detox_ray.cli.output import write_anything
from detox_ray.cli.results import compare, gate, leaderboard, show
from detox_ray.cli.scoring import scorers, validity
from detox_ray.cli.serving import keys, serve
from detox_ray.cli.suites import suites
from detox_ray.cli.text_files import agreement, archive, score_file
from detox_ray.cli.toy17 import toy17_app
from detox_ray.cluster import interrupt

HELP = """Benchmark cross-lingual detoxification: one YAML file describes an experiment, [bold]detox-ray run[/bold]
carries it from English preference pairs to a report that says, for each of 17 languages, how much less toxic the tuned
model is, what that cost and how sure we are.

[bold]Begin here[/bold]

  detox-ray run configs/toy17.yaml           the demo, in the built-in world
  detox-ray validate my.yaml                 everything wrong with a config
  detox-ray plan my.yaml                     its memory, time and disk
  detox-ray run my.yaml generate.samples=10  any field can be set like this
  detox-ray show runs/toy17                  what is done, what is left
  detox-ray submit my.yaml --address URL     the same on a Ray cluster
  detox-ray serve runs/toy17                 talk to its models side by side
  detox-ray validity my.yaml                 where its scorers can be believed
  detox-ray compare runs/a runs/b            one page over several runs

Tables fit the terminal; with --format json (or --json) or --format csv, programs get exact numbers.

A run that was stopped, killed or failed resumes: give the same command again. If RAY_ADDRESS is set, the work runs on
that cluster, otherwise on a Ray that is started here and stopped at the end.

[bold]Exit codes[/bold]: 0 done, 1 failed, 2 the input is wrong, 3 stopped and resumable, 5 the run is in
use by another process; for gate also 4, inconclusive."""

app = typer.Typer(
    name="detox-ray",
    help=reflowed(HELP),
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
for _stage_command_name, _stage_command in stage_commands():
    app.command(_stage_command_name)(_stage_command)
app.command()(validate)
app.command()(plan)
app.command()(show)
app.command()(submit)
app.command()(scorers)
app.command()(validity)
app.command()(suites)
app.command()(gate)
app.command()(compare)
app.command()(leaderboard)
app.command()(serve)
app.command()(keys)
app.command()(archive)
app.command("score-file")(score_file)
app.command()(agreement)

app.add_typer(jobs_app, name="jobs")
app.add_typer(toy17_app, name="toy17")
for _group in (app, jobs_app, toy17_app):
    for _command in _group.registered_commands:
        _command.help = reflowed(inspect.getdoc(_command.callback) or "")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"detox-ray {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    # Waiting OpenMP threads sleep, because spinning made torch 8 times slower beside another busy process. Those of GNU
    # spin for less than a millisecond first: without that, vLLM generated 15 % fewer tokens on a quiet machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            write_anything(stream)
    interrupt.listen()
    app()


if __name__ == "__main__":
    main()
