"""The commands that carry out an experiment, and those that check and estimate it first."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Annotated

import typer

from detox_ray.cli.arguments import Config, Overrides, Verbose
from detox_ray.cli.exit_codes import WRONG_INPUT, exit_code_of, exit_codes
from detox_ray.cli.output import Format, FormatOption, JsonOption, Output
from detox_ray.config import Experiment
from detox_ray.config.base import TOY17
from detox_ray.config.loading import opened
from detox_ray.jobs.attempts import lock_wait_s, recorded
from detox_ray.run.stages import commands, registered

RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Score again the texts that a scorer failed on.")]


def _carry_out(
    config: Config, overrides: list[str] | None, only: str | None, verbose: bool, retry_failed: bool, output: Output
) -> None:
    with (
        ExitStack() as after_message,
        exit_codes(verbose, commits=True),
        opened(config, overrides or ()) as experiment,
        recorded(experiment.folder, exit_code_of, after_message),
    ):
        from detox_ray.cli.run_tables import write_closing
        from detox_ray.cluster.progress import Progress
        from detox_ray.run import pipeline

        with output.kept_for_rows():
            outcome = pipeline.run(experiment, only, Progress(), verbose, retry_failed, lock_wait_s())
        write_closing(output, outcome)


def run(
    config: Config,
    overrides: Overrides = None,
    verbose: Verbose = False,
    retry_failed: RetryFailed = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Carry an experiment through all its stages: train, generate, score, measure, report.

    Committed units are skipped, so the same command resumes a stopped run, and a finished run takes seconds. If you
    change a field, only what depends on it is made again.
    """
    _carry_out(config, overrides, None, verbose, retry_failed, Output(form, as_json))


def stage_commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield the name and the function of each command that runs registered stages."""
    for name, stages in commands(registered()).items():
        first, *others = dict.fromkeys(stage.summary for stage in stages)
        yield (
            name,
            _stage_command(name, f"Only {name}: {first}." + (f"\n\nAlso {'; '.join(others)}." if others else "")),
        )


def _stage_command(name: str, doc: str) -> Callable[..., None]:
    def command(
        config: Config,
        overrides: Overrides = None,
        verbose: Verbose = False,
        retry_failed: RetryFailed = False,
        form: FormatOption = Format.TABLE,
        as_json: JsonOption = False,
    ) -> None:
        _carry_out(config, overrides, name, verbose, retry_failed, Output(form, as_json))

    command.__doc__ = doc
    return command


def validate(
    config: Config,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the whole experiment as YAML; messages go to stderr.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Check an experiment and start nothing: list every problem at once, each with its field, value and rule.

    With --resolved, print the whole experiment: CONFIG, the files that it extends, the overrides and the defaults. The
    output is a complete config.
    """
    with exit_codes(verbose), opened(config, overrides or ()) as experiment:
        from detox_ray.run import pipeline

        if resolved:
            print(experiment.to_yaml(), end="", flush=True)
        notes: list[str] = []
        pipeline.check(experiment, notes.append)
        models = _counted(len(experiment.models), "model")
        languages = _counted(len(experiment.languages), "language")
        out = sys.stderr if resolved else sys.stdout
        print(f"{config} is valid: {models}, {languages}; run folder {experiment.folder}", file=out)
        if hub_ids := _hub_ids(experiment):
            notes.append(f"not looked up on the Hugging Face hub; `detox-ray run` does that before any work: {hub_ids}")
        for note in dict.fromkeys(notes):
            print(f"  note: {note}", file=out)


def _hub_ids(experiment: Experiment) -> str:
    """Return the hub ids of the experiment's models and evaluators, as text."""
    from detox_ray.models import is_folder

    paths = [model.path for model in experiment.models.values()]
    paths += [evaluator.path for evaluator in experiment.quality.fluency]
    return ", ".join(dict.fromkeys(path for path in paths if path and path != TOY17 and not is_folder(path)))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def plan(
    config: Config,
    overrides: Overrides = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="a100-80gb (toy17: cpu), h100, h200, a6000, v100-32gb, l4, …"),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of the cluster; by default those that training needs.")] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of one device, instead of its data sheet's.")
    ] = None,
    node_memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of a node, for offloading; by default not checked.")
    ] = None,
    reserve: Annotated[
        float | None, typer.Option(metavar="GIB", help="Memory of a device that stays free (default 2).")
    ] = None,
    tflops: Annotated[float | None, typer.Option(help="Peak speed of one device, instead of its data sheet's.")] = None,
    mfu: Annotated[
        float | None, typer.Option(help="Share of the peak that training and scoring reach (default 0.4).")
    ] = None,
    decode_mfu: Annotated[
        float | None, typer.Option(help="Share of the peak that generation reaches (default 0.1).")
    ] = None,
    start_seconds: Annotated[
        float | None, typer.Option(help="Seconds to start a training or an engine (default 60).")
    ] = None,
    bytes_per_token: Annotated[
        float | None, typer.Option(help="Bytes per token, if there is no tokenizer on this machine (default 3).")
    ] = None,
    fill: Annotated[
        float | None,
        typer.Option(help="Share of max_length that a row fills, if there is no data on this machine (default 0.5)."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="Price of a device-hour, in any currency; by default no cost is estimated.")
    ] = None,
    verbose: Verbose = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Estimate what an experiment takes, before it starts: whether it fits, time, cost, memory, tokens and disk.

    It works offline. The size of a model comes from its folder, its config.json or the published dimensions; rows are
    counted if the data is on this machine. The exit code is 2 if something cannot fit; the changes that would make it
    fit are listed.
    """
    with exit_codes(verbose), opened(config, overrides or ()) as experiment:
        from detox_ray.cli.plan_tables import write_plan
        from detox_ray.estimate import assumptions_for, estimate

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
            price=price,
        )
        estimated = estimate(experiment, assumed, registered())
        write_plan(Output(form, as_json), estimated)
    if estimated.problems:
        raise typer.Exit(WRONG_INPUT)
