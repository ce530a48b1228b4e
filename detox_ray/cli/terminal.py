"""Show a run, a validity check, the scorers or a service in the terminal."""

from collections import defaultdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detox_ray.cluster.timings import timed_groups
from detox_ray.measure.validity import has_evidence
from detox_ray.run import RunFolder, headline
from detox_ray.run.pipeline import Outcome
from detox_ray.run.validity import ValidityOutcome
from detox_ray.score import ready_scorers
from detox_ray.serve.launch import StartedService
from detox_ray.storage.tables import OK


def duration(seconds: float) -> str:
    """Format a duration in seconds, or in minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def closing(console: Console, outcome: Outcome) -> None:
    """Print the result of a run: what each command did, how long it took, the headline, and the report's path."""
    context = outcome.context
    table = Table(title=f"{context.experiment.name}: {duration(outcome.seconds)}", title_justify="left")
    for name, justify in (("stage", "left"), ("made", "right"), ("kept", "right"), ("time", "right"), ("rate", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    rates: dict[str, list[str]] = defaultdict(list)
    for work, timing in timed_groups(context):
        rates[work.stage.command].append(f"{timing.stage} {timing.model}: {timing.rate}")
    for done in outcome.commands:
        table.add_row(
            done.command,
            str(done.made),
            str(done.kept),
            duration(done.seconds) if done.made else "",
            "\n".join(rates[done.command]) if done.made else "",
        )
    console.print(table)
    if outcome.peak_memory_gib is not None and any(done.made for done in outcome.commands):
        console.print(f"peak memory of all local processes: {outcome.peak_memory_gib:.1f} GiB", highlight=False)
    _headline(console, RunFolder(context.experiment.folder, context.store))


def _headline(console: Console, run: RunFolder) -> None:
    if not run.has_results:
        return
    for line in headline(run.results()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {run.store.path('report/index.html')}", highlight=False, markup=False, soft_wrap=True)


def show(console: Console, run: RunFolder) -> None:
    """Print the committed and planned units by table, keys and language."""
    plan, committed = run.plan(), run.committed()
    languages = sorted({unit["language"] for unit in plan.get("generate", {})})
    title = run.store.uri
    grid = Table(title=title, title_justify="left", caption="· nothing yet   ✓ all committed   1/4 units committed")
    for column in ("table", "of", "units"):
        grid.add_column(column)
    for language in languages:
        grid.add_column(language, justify="center")
    for units in plan.values():
        flags: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for unit, key in units.items():
            keys = ", ".join(value for name, value in unit.keys if name != "language")
            flags[unit.table, keys][unit.get("language")].append(committed.get(unit) == key)
        for (name, keys), by_language in flags.items():
            flags_of_row = [flag for cell in by_language.values() for flag in cell]
            cells = [_cell(by_language.get(language)) for language in languages]
            grid.add_row(name, keys, f"{sum(flags_of_row)}/{len(flags_of_row)}", *cells)
    console.print(grid)
    _headline(console, run)


def _cell(flags: list[bool] | None) -> str:
    if flags is None:
        return ""
    done = sum(flags)
    if done == len(flags):
        return "✓"
    return f"{done}/{len(flags)}" if done else "·"


def scorers(console: Console) -> None:
    """Print the ready scorers."""
    for entry in ready_scorers().values():
        languages = "all" if entry.languages is None else " ".join(entry.languages)
        kind, origin = entry.config.kind, entry.config.origin
        console.print(f"[bold]{escape(entry.name)}[/] ({kind}) {escape(origin)}", highlight=False)
        console.print(f"  {escape(' '.join(entry.attributes))}; languages: {languages}", highlight=False)
        console.print(f"  licence: {escape(entry.licence)}; needs: {escape(entry.cost)}", highlight=False)
    console.print("The card of one: detox-ray scorers NAME.")
    console.print("Any other: score.scorers takes {name, type, path, …}; types and fields are in the README.")


def validity(console: Console, outcome: ValidityOutcome) -> None:
    """Print a table per scorer, and the calibration map if one was fitted."""
    for scorer in dict.fromkeys(row.scorer for row in outcome.rows):
        rows = [row for row in outcome.rows if row.scorer == scorer]
        table = Table(title=f"{scorer} against {rows[0].reference}", title_justify="left")
        for name in ("language", "n", "toxic", "AUROC", "average precision", "best F1 (from)", "calibration error"):
            table.add_column(name, justify="left" if name == "language" else "right")
        table.add_column("Spearman", justify="right")
        table.add_column("note")
        for row in rows:
            best = "" if row.best_f1 is None else f"{row.best_f1:.3f} ({row.best_f1_threshold:.3f})"
            table.add_row(
                row.language,
                str(row.n),
                str(row.n_toxic),
                _bounded(row.auroc, row.ci_low, row.ci_high),
                _bounded(row.average_precision, row.average_precision_low, row.average_precision_high),
                best,
                _bounded(row.calibration_error, row.calibration_error_low, row.calibration_error_high),
                _bounded(row.spearman, row.spearman_low, row.spearman_high),
                ("" if has_evidence(row) else "no evidence") if row.status == OK else row.status.replace("_", " "),
            )
        console.print(table)
    console.print(f"written: {outcome.file}", highlight=False, markup=False, soft_wrap=True)
    if outcome.calibration is not None:
        fitted = outcome.calibration
        for language, curve in sorted(fitted.languages.items()):
            after = "" if curve.error_after is None else f" -> {curve.error_after:.3f} (cross-validated)"
            line = f"{language}: calibration error {curve.error_before:.3f}{after}, n {curve.n}"
            console.print(line, highlight=False)
        for language, reason in fitted.refused.items():
            console.print(f"{language}: no map: {reason.replace('_', ' ')}", highlight=False)
        console.print(f"written: {outcome.calibration_file}", highlight=False, markup=False, soft_wrap=True)


def _bounded(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def serving(console: Console, service: StartedService) -> None:
    """Print the addresses of the service, and the models and scorers that it serves."""
    spec, url = service.spec, service.url
    console.print(f"{url} answers after {service.seconds:.0f} s", highlight=False)
    for engine in spec.engines:
        adapters = f", and by adapters {', '.join(engine.adapters)}" if engine.adapters else ""
        console.print(f"  model {engine.model.name}{adapters}", highlight=False, markup=False)
    scorers = ", ".join(scorer.name for scorer in spec.scorers) or "none: completions are not scored"
    console.print(f"  scorers {scorers}", highlight=False, markup=False)
    if not spec.engines:
        analyze = f"{url}/v1alpha1/comments:analyze"
        console.print(f"  Perspective API {analyze} · cards {url}/scorers · stop with Ctrl-C", highlight=False)
        return
    console.print(f"  page {url}/ · OpenAI API {url}/v1 · {url}/v1/compare · stop with Ctrl-C", highlight=False)
