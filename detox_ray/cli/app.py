"""The commands of `detox-ray`. Each parses its options, calls a room, and prints the result."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detox_ray import __version__
from detox_ray.cli.exit_codes import DONE, FAILED, INCONCLUSIVE, Verbose, exit_codes
from detox_ray.cli.scorers import scorers
from detox_ray.cli.serving import keys, serve
from detox_ray.cli.text_files import agreement, archive, score_file
from detox_ray.cli.toy17 import toy17_app
from detox_ray.cluster import interrupt
from detox_ray.config import ConfigError
from detox_ray.config.loading import opened
from detox_ray.run.stages import commands, registered

app = typer.Typer(
    name="detox-ray",
    help="""Benchmark cross-lingual detoxification: one YAML file describes an experiment, [bold]detox-ray run[/bold]
carries it from English preference pairs to a report that says, for each of 17 languages, how much less toxic the tuned
model is, what that cost and how sure we are.

[bold]Begin here[/bold]

  detox-ray run configs/toy17.yaml             the built-in world, on this machine

  detox-ray validate my.yaml                   everything wrong with a config, at once

  detox-ray plan my.yaml                       memory, time and disk that it takes, before it starts

  detox-ray run my.yaml generate.samples=10    any field can be set on the command line, dotted

  detox-ray show runs/toy17                    what is done, what is left

  detox-ray serve runs/toy17                   talk to its models side by side, in the browser or over HTTP

  detox-ray validity my.yaml                   in which languages the scorers can be believed

  detox-ray compare runs/a runs/b              one page over several runs

A run that was stopped, killed or failed resumes: give the same command again. If RAY_ADDRESS is set, the work runs on
that cluster; else on a Ray that is started here and stopped at the end.

[bold]Exit codes[/bold]: 0 done, 1 failed, 2 the input is wrong, 3 stopped and resumable; of gate also
4, inconclusive.""",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(toy17_app, name="toy17")

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Dotted overrides, such as models.detox.train.beta=0.2."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Score again what a scorer failed at, as when a service was down.")
]


def _carry_out(config: Path, overrides: list[str] | None, only: str | None, verbose: bool, retry_failed: bool) -> None:
    with exit_codes(verbose), opened(config, overrides or ()) as experiment:
        from detox_ray.cli import terminal
        from detox_ray.cluster.progress import Progress
        from detox_ray.run import pipeline

        outcome = pipeline.run(experiment, only, Progress(), verbose, retry_failed)
        terminal.closing(Console(), outcome)


@app.command()
def run(
    config: Config, overrides: Overrides = None, verbose: Verbose = False, retry_failed: RetryFailed = False
) -> None:
    """Carry an experiment through all its stages: train, generate, score, measure, report.

    Units that are committed are skipped, so the same command resumes a stopped run, and a finished run takes seconds.
    If you change a field, only what depends on it is made again.
    """
    _carry_out(config, overrides, None, verbose, retry_failed)


def _stage_command(name: str, summary: str) -> None:
    def command(
        config: Config, overrides: Overrides = None, verbose: Verbose = False, retry_failed: RetryFailed = False
    ) -> None:
        _carry_out(config, overrides, name, verbose, retry_failed)

    command.__doc__ = f"Only {name}: {summary}."
    app.command(name)(command)


for _name, _stages in commands(registered()).items():
    _stage_command(_name, "; ".join(stage.summary for stage in _stages))


@app.command()
def validate(
    config: Config,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the whole experiment as YAML, and everything else to stderr.")
    ] = False,
) -> None:
    """Check an experiment without starting anything: every problem at once, each with field, value and rule.

    With --resolved, print the whole experiment: CONFIG, the files that it extends, the overrides and the defaults. The
    output is a config by itself.
    """
    with exit_codes(), opened(config, overrides or ()) as experiment:
        from detox_ray.run import pipeline

        if resolved:
            print(experiment.to_yaml(), end="", flush=True)
        notes: list[str] = []
        pipeline.check(experiment, notes.append)
        models, languages = len(experiment.models), len(experiment.languages)
        out = sys.stderr if resolved else sys.stdout
        print(f"{config} is valid: {models} models, {languages} languages; run folder {experiment.folder}", file=out)
        for note in dict.fromkeys(notes):
            print(f"  note: {note}", file=out)


@app.command()
def plan(
    config: Config,
    overrides: Overrides = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="a100-80gb (toy17: cpu), h100, h200, a6000, v100-32gb, l4, …"),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of the cluster; else as many as training asks for.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of one device, instead of its data sheet's.")
    ] = None,
    node_memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of a node, for offload; by default not checked.")
    ] = None,
    reserve: Annotated[float | None, typer.Option(metavar="GIB", help="Memory of a device that stays free; 2.")] = None,
    tflops: Annotated[float | None, typer.Option(help="Peak speed of one device, instead of its data sheet's.")] = None,
    mfu: Annotated[float | None, typer.Option(help="Share of the peak that training and scoring reach; 0.4.")] = None,
    decode_mfu: Annotated[float | None, typer.Option(help="Share of the peak that generation reaches; 0.1.")] = None,
    start_seconds: Annotated[float | None, typer.Option(help="Seconds to start a training or an engine; 60.")] = None,
    bytes_per_token: Annotated[float | None, typer.Option(help="Bytes of a token, if no tokenizer is here; 3.")] = None,
    fill: Annotated[
        float | None, typer.Option(help="Share of max_length that a row fills, if no data is here; 0.5.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the estimate as JSON.")] = False,
) -> None:
    """Estimate what an experiment takes, before it starts: memory, tokens, time and disk.

    Works offline: models by folder, config.json or published dimensions; rows counted if the data is here. Exit code 2
    if something cannot fit, with the changes that would make it fit.
    """
    with exit_codes(), opened(config, overrides or ()) as experiment:
        from detox_ray.estimate import assumptions_for, estimate, render

        assumed = assumptions_for(
            experiment,
            device=device,
            gpus=gpus,
            gpu_memory=gpu_memory,
            node_memory=node_memory,
            reserve=reserve,
            tflops=tflops,
            mfu=mfu,
            decode_mfu=decode_mfu,
            start_seconds=start_seconds,
            bytes_per_token=bytes_per_token,
            fill=fill,
        )
        estimated = estimate(experiment, assumed, registered())
        if as_json:
            print(json.dumps(render.as_json(estimated), indent=2, ensure_ascii=False))
        else:
            render.show(Console(), estimated)
        if estimated.problems:
            raise ConfigError(estimated.problems)


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI, such as runs/toy17.")],
) -> None:
    """Show the state of a run: committed and planned units by table and keys, and the headline if there is one."""
    with exit_codes():
        from detox_ray.cli import terminal
        from detox_ray.run import open_run

        terminal.show(Console(), open_run(run))


@app.command()
def validity(
    config: Config,
    overrides: Overrides = None,
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="SCORER", help="Also fit this scorer's calibration, per language, into --out."),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="isotonic|platt", help="Platt if a language has fewer than a few hundred texts.")
    ] = "isotonic",
    against: Annotated[
        str | None, typer.Option(metavar="SCORER", help="Calibrate to another scorer's values, not to the labels.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The calibration's file.")] = Path("calibration.json"),
    verbose: Verbose = False,
) -> None:
    """Check in which languages the scorers can be believed: every scorer against human-labelled text.

    The labelled text is the config's `validity` block: RTP-LX's annotations, your own file, or toy17's labels. The
    result per scorer and language is AUROC, average precision, best F1 and its threshold, calibration error and rank
    correlation, with intervals. It is also written to validity.csv in the run's folder.
    """
    with exit_codes(verbose), opened(config, overrides or ()) as experiment:
        from detox_ray.cli import terminal
        from detox_ray.cluster.progress import Progress
        from detox_ray.run import validity as scorer_validity

        request = None if calibrate is None else scorer_validity.CalibrationRequest(calibrate, method, against, out)
        terminal.validity(Console(), scorer_validity.run(experiment, request, Progress(), verbose))


@app.command()
def gate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or URI.", show_default=False)],
    spec: Annotated[Path, typer.Option(help="What must hold: see configs/gate.yaml.", show_default=False)],
) -> None:
    """Judge whether a run meets a specification, with reasons, for continuous integration.

    Exit code 0: pass; 1: fail; 4: inconclusive, because an interval spans the limit or a number is missing.
    """
    with exit_codes():
        from detox_ray import gate as work
        from detox_ray.run import open_run

        wanted = work.read_spec(spec)
        verdict = work.judge(open_run(run).results(), wanted)
        work.show(Console(), verdict)
    raise typer.Exit({work.PASS: DONE, work.FAIL: FAILED, work.INCONCLUSIVE: INCONCLUSIVE}[verdict.verdict])


Out = Annotated[Path, typer.Option(help="The folder of the page.")]


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs' folders or URIs.", show_default=False)],
    out: Out = Path("comparison"),
) -> None:
    """Write one page over several finished runs: forest, heat map, trade-offs, and the settings that differ."""
    with exit_codes():
        from detox_ray.run import comparison_page, open_run

        print(comparison_page.write_page([open_run(run) for run in runs], "Comparison", out))


@app.command()
def leaderboard(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A storage: a folder of runs.", show_default=False)],
    out: Out = Path("leaderboard"),
) -> None:
    """Write the page of `compare` over every finished run of a folder."""
    with exit_codes():
        from detox_ray.run import comparison_page, finished_runs

        print(comparison_page.write_page(finished_runs(folder), "Leaderboard", out))


app.command()(serve)
app.command()(keys)
app.command()(scorers)
app.command()(archive)
app.command("score-file")(score_file)
app.command()(agreement)


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
    # Idle OpenMP threads sleep rather than spin: spinning made torch 8 times slower beside another busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for number in (signal.SIGINT, signal.SIGTERM):  # clusters end a job with SIGTERM
        signal.signal(number, interrupt.handler)
    app()


if __name__ == "__main__":
    main()
