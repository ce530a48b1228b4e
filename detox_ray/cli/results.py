"""The commands on runs that have begun or are finished: show, gate, compare, leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detox_ray.cli.arguments import RunArgument, Verbose
from detox_ray.cli.exit_codes import DONE, FAILED, INCONCLUSIVE, exit_codes
from detox_ray.cli.output import Format, FormatOption, JsonOption, Output

if TYPE_CHECKING:
    from detox_ray.run import RunFolder

Out = Annotated[Path, typer.Option(help="The folder of the page.")]


def show(
    run: RunArgument, verbose: Verbose = False, form: FormatOption = Format.TABLE, as_json: JsonOption = False
) -> None:
    """Show the state of a run: committed and planned units by table and keys, and the headline if there is one."""
    with exit_codes(verbose):
        from detox_ray.cli.run_tables import write_state
        from detox_ray.run import open_run

        write_state(Output(form, as_json), open_run(run))


def gate(
    run: RunArgument,
    spec: Annotated[Path, typer.Option(help="What must hold: see configs/gate.yaml.", show_default=False)],
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Judge whether a run meets a specification, with reasons, for continuous integration.

    Exit code 0: pass; 1: fail; 4: inconclusive, because an interval spans the limit or a number is missing.
    """
    with exit_codes(verbose):
        from detox_ray.cli.run_tables import write_verdict
        from detox_ray.gate import FAIL, PASS, judge, read_spec
        from detox_ray.run import open_run

        rules = read_spec(spec)
        verdict = judge(open_run(run).results(), rules)
        write_verdict(Output(form, as_json), verdict)
    raise typer.Exit({PASS: DONE, FAIL: FAILED}.get(verdict.verdict, INCONCLUSIVE))


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs' folders or URIs.", show_default=False)],
    out: Out = Path("comparison"),
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Write one page over several finished runs: forest, heat map, trade-offs, and the settings that differ."""
    with exit_codes(verbose):
        from detox_ray.run import open_run

        _write_comparison([open_run(run) for run in runs], "Comparison", out, Output(form, as_json))


def leaderboard(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A storage: a folder of runs.", show_default=False)],
    out: Out = Path("leaderboard"),
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Write the page of `compare` over every finished run of a folder."""
    with exit_codes(verbose):
        from detox_ray.run import finished_runs

        _write_comparison(finished_runs(folder), "Leaderboard", out, Output(form, as_json))


def _write_comparison(runs: "list[RunFolder]", title: str, folder: Path, output: Output) -> None:
    from detox_ray.cli.run_tables import write_headlines
    from detox_ray.run import comparison_page

    results = comparison_page.labelled_results(runs)
    page = comparison_page.write_page(results, title, folder)
    write_headlines(output, results)
    output.say(f"written: {page}")
