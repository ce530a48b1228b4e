"""The commands for files of texts, without an experiment: `archive`, `score-file`, `agreement`."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from detox_ray.cli.arguments import Verbose
from detox_ray.cli.exit_codes import STOPPED, exit_codes

TextColumn = Annotated[str, typer.Option("--text-column", metavar="NAME", help="The column that holds the text.")]
LanguageColumn = Annotated[
    str, typer.Option("--language-column", metavar="NAME", help="The column that names a row's language, if any.")
]


def archive(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="JSON Lines, CSV or Parquet files of texts.", show_default=False),
    ],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The archive's folder, on this machine.")],
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="An attribute to ask for; may be repeated. By default the six in production."
        ),
    ] = None,
    text_column: TextColumn = "text",
    language_column: LanguageColumn = "language",
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Language of rows without one; by default the service detects it."),
    ] = None,
    spans: Annotated[bool, typer.Option("--spans", help="Also ask for a score of each sentence.")] = False,
    queries_per_second: Annotated[
        float, typer.Option(help="Your quota. A 429 halves the rate, which then rises to it again.")
    ] = 1.0,
    url: Annotated[str | None, typer.Option(help="Another server that speaks the protocol.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the key.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again for texts that failed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count the texts, and estimate how long they take.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Keep the Perspective API's answers for your texts, before it shuts down on 31 December 2026.

    Each distinct text is asked for once, with all attributes; the whole answer is kept, with its date and request. The
    command can be stopped or killed at any time: the same command goes on from there. Exit code 3: some texts got no
    answer. The folder holds Parquet, and can be used as a scorer:

      {name: perspective-2026, type: stored, format: archive, path: FOLDER}
    """
    with exit_codes(verbose, commits=True):
        from detox_ray.cluster.progress import Progress
        from detox_ray.config.loading import validated
        from detox_ray.score.variants.perspective import PerspectiveConfig
        from detox_ray.text_files import archive as work
        from detox_ray.text_files.inventory import ArchiveRequest, announce
        from detox_ray.text_files.text_rows import TextColumns

        service = {
            "name": "archive",
            "type": "perspective",
            "attributes": [name.lower() for name in attribute or work.ATTRIBUTES],
            "queries_per_second": queries_per_second,
            **({} if url is None else {"url": url}),
            **({} if key_env is None else {"key_env": key_env}),
        }
        request = ArchiveRequest(
            files,
            out,
            validated(PerspectiveConfig, service, "options"),
            TextColumns(text_column, language_column, language_code(language)),
            spans,
            retry_failed,
        )
        if dry_run:
            announce(request, work.dry_run(request), Progress())
            return
        outcome = work.run(request, Progress())
        console = Console()
        counted = ", ".join(
            f"{status.replace('_', ' ')} {count:,}" for status, count in outcome.counts.items() if count
        )
        console.print(f"{out}: {counted or 'no text'}", highlight=False, markup=False, soft_wrap=True)
        if outcome.repeated:
            twice = f"{outcome.repeated:,} requests were sent twice, because a killed run had not kept their answers"
            console.print(twice, highlight=False, markup=False, soft_wrap=True)
        if outcome.unanswered:
            rest = f"{outcome.unanswered:,} texts got no answer: give the same command again to ask for them"
            console.print(rest, highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(STOPPED)


def score_file(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="JSON Lines, CSV or Parquet; - reads standard input.", show_default=False),
    ],
    scorer: Annotated[
        list[str],
        typer.Option(metavar="SCORER", help="A ready scorer, NAME=PATH, or a YAML file of scorers; may be repeated."),
    ],
    out: Annotated[str, typer.Option(metavar="FILE", help=".parquet, .jsonl or .csv; - writes standard output.")] = "-",
    text_column: TextColumn = "text",
    language_column: LanguageColumn = "language",
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Language of rows without one; by default it is identified.")
    ] = None,
    identifier: Annotated[
        str, typer.Option(metavar="py3langid|lingua", help="The library that identifies languages.")
    ] = ("py3langid"),
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that the output keeps; may be repeated.")
    ] = None,
    input_format: Annotated[str, typer.Option(metavar="jsonl|csv|parquet", help="Format of standard input.")] = "jsonl",
    output_format: Annotated[str, typer.Option(metavar="jsonl|csv", help="Format of standard output.")] = "jsonl",
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder or URI for unfinished work and cached scores, which a whole cluster can reach.",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Work in this many processes on Ray. By default in this process, or on RAY_ADDRESS's cluster."
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Score any file of texts by any scorers: a status and values for each row, in the file's order.

      detox-ray score-file comments.csv --scorer textdetox-xlmr --out scores.csv

    The command can be stopped or killed at any time: the same command goes on from there.
    """
    with exit_codes(verbose, commits=True), _input_file(file, input_format) as path:
        from detox_ray.cluster.progress import Progress
        from detox_ray.config import ConfigError, Problem
        from detox_ray.text_files import score_file as work
        from detox_ray.text_files.scored_file import format_of
        from detox_ray.text_files.scorer_options import scorer_config
        from detox_ray.text_files.text_rows import TextColumns

        format = {"jsonl": "jsonl", "csv": "csv"}.get(output_format) if out == "-" else format_of(Path(out))
        if format is None:
            if out == "-":
                option, value, rule = "--output-format", output_format, "must be jsonl or csv"
            else:
                option, value, rule = "--out", out, "must end in .parquet, .jsonl or .csv"
            raise ConfigError([Problem(option, value, rule)])
        if identifier not in ("py3langid", "lingua"):
            raise ConfigError([Problem("--identifier", identifier, "must be py3langid or lingua")])
        request = work.ScoreFileRequest(
            path,
            None if out == "-" else Path(out),
            format,  # type: ignore[arg-type]
            scorer_config(scorer),
            TextColumns(text_column, language_column, language_code(language), tuple(keep or ())),
            identifier,  # type: ignore[arg-type]
            storage,
            actors,
        )
        on_ray = bool(actors or os.environ.get("RAY_ADDRESS"))
        outcome = work.run(request, Progress(), on_ray, verbose)
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for note in outcome.notes:
            console.print(note, markup=False)
        rate = outcome.rows / max(outcome.seconds, 1e-9)
        console.print(f"{outcome.rows:,} rows in {outcome.seconds:.1f} s ({rate:,.0f} a second): {out}", markup=False)
        for name, counts in outcome.status_counts.items():
            console.print(f"  {name}: {', '.join(f'{status} {n:,}' for status, n in counts.items())}", markup=False)
        if outcome.unreadable:
            console.print(f"  rows that could not be read: {outcome.unreadable:,} (column reason)", markup=False)


def agreement(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A", help="The scores to replace: an archive, FILE[:SCORER] or RUN[:SCORER].", show_default=False
        ),
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="The scores to replace them with, likewise.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of the page and the table.")] = Path(
        "agreement"
    ),
    attribute: Annotated[str, typer.Option(help="The attribute to compare.")] = "toxicity",
    threshold: Annotated[float, typer.Option(help="The value of A from which a text counts as toxic.")] = 0.5,
    label_column: Annotated[
        str | None,
        typer.Option("--label-column", metavar="NAME", help="A kept column with people's labels: toxic or not."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also fit a map from B's values to A's, for a scorer of type calibrated."),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="isotonic|platt", help="Use platt if there are few texts.")
    ] = "isotonic",
    minimum: Annotated[
        int, typer.Option(min=1, help="Fewest toxic and fewest harmless texts for a language's map.")
    ] = 50,
    most: Annotated[int, typer.Option(min=2, help="Most texts per language; if there are more, a sample.")] = 20_000,
    verbose: Verbose = False,
) -> None:
    """Show what changes in each language if scorer B replaces scorer A, on texts that both scored.

    For example:

      detox-ray agreement perspective-2026 scores.csv --calibrate map.json
    """
    with exit_codes(verbose):
        from detox_ray.text_files import agreement as work

        request = work.AgreementRequest(
            first,
            second,
            out,
            attribute=attribute,
            threshold=threshold,
            label_column=label_column,
            calibrate=calibrate,
            method=method,  # type: ignore[arg-type]
            minimum=minimum,
            most=most,
        )
        outcome = work.run(request)
        console = Console(highlight=False, soft_wrap=True)
        wanted = {"spearman": "Spearman", "mean_difference": "B - A", "same_share_threshold": "threshold for A's share"}
        by_language: dict[str, list[str]] = {}
        for row in outcome.rows:
            if row.statistic in wanted and row.threshold in (None, threshold):
                number = row.status.replace("_", " ") if row.value is None else f"{row.value:z.3f}"
                parts = by_language.setdefault(row.language, [f"{row.language}: n {row.n:,}"])
                parts.append(f"{wanted[row.statistic]} {number}")
        for parts in by_language.values():
            console.print(", ".join(parts), markup=False)
        console.print(f"written: {outcome.page}", markup=False)
        if outcome.calibration is not None:
            for code, reason in outcome.calibration.refused.items():
                console.print(f"{code}: no map: {reason.replace('_', ' ')}", markup=False)
            console.print(f"written: {calibrate}", markup=False)


@contextmanager
def _input_file(file: str, format: str) -> Iterator[Path]:
    """Yield the path of the input. Standard input is copied to a temporary file, because it is read more than once."""
    if file != "-":
        yield Path(file)
        return
    with tempfile.TemporaryDirectory(prefix="detox-ray-") as folder:
        path = Path(folder) / f"standard-input.{format}"
        with path.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield path


def language_code(tag: str | None) -> str | None:
    """Return the language code of --language. Raises ConfigError if it is not a language tag."""
    from detox_ray.config import ConfigError, Problem
    from detox_ray.text_files import text_rows

    code = None if tag is None else text_rows.language_code(tag)
    if tag is not None and code is None:
        raise ConfigError([Problem("--language", tag, "must be a language tag, such as en or pt-BR")])
    return code
