"""The commands for scorers: which are ready, and in which languages they can be believed."""

from pathlib import Path
from typing import Annotated

import typer

from detox_ray.cli.arguments import Config, Overrides, Verbose
from detox_ray.cli.exit_codes import exit_codes
from detox_ray.cli.output import Format, FormatOption, JsonOption, Output
from detox_ray.config.loading import opened


def scorers(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A ready scorer, for its card.", show_default=False)
    ] = None,
    validity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A validity.csv of detox-ray validity, to show on the card.")
    ] = None,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """List the ready scorers with attributes, languages, licence and requirements, or show the card of one.

    A card has the revision, the licence, the languages, the meaning of each attribute, what the scorer was trained on
    and, with --validity, the languages in which it was shown to work here.
    """
    with exit_codes():
        from detox_ray.cli.scorer_tables import write_card, write_scorers
        from detox_ray.score import cards

        output = Output(form, as_json)
        if name is None:
            write_scorers(output)
        else:
            rows = cards.read_validity(validity, name) if validity is not None else []
            write_card(output, cards.ready_card(name, rows))


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
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Check in which languages the scorers can be believed: compare every scorer with human-labelled text.

    The config's `validity` block names the labelled text: RTP-LX's annotations, your own file, or toy17's labels. The
    result for each scorer and language is AUROC, average precision, best F1 and its threshold, calibration error and
    rank correlation, with intervals. It is also written to validity.csv in the run's folder.
    """
    output = Output(form, as_json)
    with exit_codes(verbose, commits=True), opened(config, overrides or ()) as experiment:
        from detox_ray.cli.scorer_tables import write_validity
        from detox_ray.cluster.progress import Progress
        from detox_ray.run import validity as scorer_validity

        request = None if calibrate is None else scorer_validity.CalibrationRequest(calibrate, method, against, out)
        with output.kept_for_rows():
            outcome = scorer_validity.run(experiment, request, Progress(), verbose)
        write_validity(output, outcome)
