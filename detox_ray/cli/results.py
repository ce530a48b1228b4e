"""The commands for runs that have begun or finished: show, gate, compare, leaderboard."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detox_ray.cli.arguments import RunArgument, Verbose, check_output
from detox_ray.cli.exit_codes import DONE, FAILED, INCONCLUSIVE, exit_codes
from detox_ray.cli.output import Format, FormatOption, JsonOption, Output
from detox_ray.config import ConfigError, InputError, Problem

if TYPE_CHECKING:
    from detox_ray.run import RunFolder

Out = Annotated[Path, typer.Option(help="The folder of the page.")]


def show(
    run: RunArgument, verbose: Verbose = False, form: FormatOption = Format.TABLE, as_json: JsonOption = False
) -> None:
    """Show the state of a run: its committed and planned units, and the headline if there is one."""
    with exit_codes(verbose):
        from detox_ray.cli.run_tables import write_state
        from detox_ray.run import open_run

        write_state(Output(form, as_json), open_run(run))


def gate(
    run: RunArgument,
    spec: Annotated[
        Path | None,
        typer.Option(help="A file of rules, such as configs/gate.yaml. By default the rules of the run's experiment."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Judge only this model; by default every tuned model, or the file's."),
    ] = None,
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Judge whether a run meets the rules of its experiment or of a file, with reasons, for continuous integration.

    Exit code 0: pass; 1: fail; 4: inconclusive, because an interval spans the limit or a number is missing. If several
    models are judged, the worst verdict counts.
    """
    with exit_codes(verbose):
        from detox_ray.cli.run_tables import write_verdicts
        from detox_ray.gate import FAIL, PASS, judge, judge_all, read_spec, worst
        from detox_ray.run import open_run

        folder = open_run(run)
        if spec is None:
            rules = folder.experiment().release_rules
            if rules is None:
                raise InputError(f"{run}: its experiment has no prompts and no block `gate`: give the rules by --spec")
            verdicts = judge_all(folder.results(), rules)
        else:
            verdicts = [judge(folder.results(), read_spec(spec))]
        if not verdicts:
            raise InputError(f"{run}: compares no model with its parent, so there is nothing to judge")
        if model is not None:
            judged = ", ".join(verdict.model for verdict in verdicts)
            verdicts = [verdict for verdict in verdicts if verdict.model == model]
            if not verdicts:
                raise ConfigError([Problem("--model", model, f"must be one of the models that are judged: {judged}")])
        write_verdicts(Output(form, as_json), verdicts)
    code = {PASS: DONE, FAIL: FAILED}.get(worst(verdict.verdict for verdict in verdicts), INCONCLUSIVE)
    raise typer.Exit(code)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Runs' folders or URIs.", show_default=False)],
    out: Out = Path("comparison"),
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Write one page about several finished runs: forest, heat map, trade-offs, and the settings that differ."""
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
    """Write the page that `compare` writes, about every finished run in a folder."""
    with exit_codes(verbose):
        from detox_ray.run import finished_runs

        _write_comparison(finished_runs(folder), "Leaderboard", out, Output(form, as_json))


def _write_comparison(runs: "list[RunFolder]", title: str, folder: Path, output: Output) -> None:
    from detox_ray.cli.run_tables import write_headlines
    from detox_ray.run import comparison_page

    check_output("--out", folder / comparison_page.PAGE)
    results = comparison_page.labelled_results(runs)
    page = comparison_page.write_page(results, title, folder)
    write_headlines(output, results)
    output.say(f"written: {page}")
