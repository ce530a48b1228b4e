"""The tables about runs: the closing table of a call, the state of a run, headlines of runs, a gate's verdicts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from detox_ray import gate
from detox_ray.cli.output import Listing, Output
from detox_ray.cli.terminal_tables import Column, TerminalTable, bounded
from detox_ray.cluster.timings import timed_groups
from detox_ray.run import Headline, RunFolder, headline, headlines
from detox_ray.run.pipeline import Outcome

COLOURS = {gate.PASS: "bold green", gate.FAIL: "bold red", gate.INCONCLUSIVE: "bold yellow"}


def duration(seconds: float) -> str:
    """Format a duration in seconds, or in minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def write_closing(output: Output, outcome: Outcome) -> None:
    """Write the closing table of a run (units, times and rates by command), the headline, and the report's path."""
    rates: dict[str, list[str]] = defaultdict(list)
    for work, timing in timed_groups(outcome.context):
        if timing.rate:  # imported models and units that take no time have none
            rates[work.stage.command].append(f"{timing.stage} {timing.model}: {timing.rate}")
    rows = [
        {**command._asdict(), "rates": rates[command.command] if command.new_units else []}
        for command in outcome.commands
        if command.new_units or command.kept_units  # otherwise an optional stage that the experiment does not use
    ]
    columns = (
        Column("stage", "key"),
        Column("made", "number"),
        Column("kept", "number"),
        Column("time", "number"),
        Column("rate"),
    )
    cells = [
        (
            row["command"],
            str(row["new_units"]),
            str(row["kept_units"]),
            duration(row["seconds"]) if row["new_units"] else "",
            "\n".join(row["rates"]),
        )
        for row in rows
    ]
    title = f"{outcome.context.experiment.name}: {duration(outcome.seconds)}"
    fields = ("command", "new_units", "kept_units", "seconds", "rates")
    output.write(Listing(fields, rows, [TerminalTable(title, columns, cells)]))
    if outcome.peak_memory_gib is not None and any(command.new_units for command in outcome.commands):
        output.say(f"peak memory of all local processes: {outcome.peak_memory_gib:.1f} GiB")
    _say_headline(output, RunFolder(outcome.context.experiment.folder, outcome.context.store))


def write_state(output: Output, run: RunFolder) -> None:
    """Write the committed and planned units by table, keys and language, and the headline if there is one."""
    committed = run.committed()
    # Count the units of each row of the table, language by language.
    counts: dict[tuple[str, str], dict[str | None, list[int]]] = {}
    for units in run.plan().values():
        for unit, key in units.items():
            keys = "/".join(f"{name}={value}" for name, value in unit.keys if name != "language")
            of_language = counts.setdefault((unit.table, keys), {}).setdefault(unit.get("language"), [0, 0])
            of_language[0] += committed.get(unit) == key
            of_language[1] += 1
    rows = [
        {"table": table, "keys": keys, "language": language, "committed": done, "planned": planned}
        for (table, keys), by_language in counts.items()
        for language, (done, planned) in by_language.items()
    ]
    cells = []
    for (table, keys), by_language in counts.items():
        done, planned = (sum(numbers) for numbers in zip(*by_language.values(), strict=True))
        values = ", ".join(key.partition("=")[2] for key in keys.split("/") if key)
        cells.append((table, values, f"{done}/{planned}", _left(by_language)))
    columns = (Column("table", "key"), Column("of"), Column("units", "number"), Column("left to do"))
    fields = ("table", "keys", "language", "committed", "planned")
    output.write(Listing(fields, rows, [TerminalTable(run.store.uri, columns, cells)]))
    _say_headline(output, run)


def _left(by_language: Mapping[str | None, Sequence[int]]) -> str:
    """Return the languages that have units left to do, each with its counts if it has begun."""
    if all(done == planned for done, planned in by_language.values()):
        return "✓"
    if not any(done for done, _ in by_language.values()):
        return "all"
    left = [
        f"{language} {done}/{planned}" if done else str(language)
        for language, (done, planned) in by_language.items()
        if done < planned and language is not None
    ]
    return ", ".join(left) or "some"


def _say_headline(output: Output, run: RunFolder) -> None:
    if not run.has_results:
        return
    for line in headline(run.results()):
        output.say(line)
    output.say(f"report: {run.store.path('report/index.html')}")


def write_headlines(output: Output, results: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write the macro toxicity of each compared pair of several runs."""
    lines = [(label, line) for label, document in results for line in headlines(document)]
    scorers = dict.fromkeys(line.scorer for _, line in lines)
    metrics = dict.fromkeys(line.metric.replace("_", " ") for _, line in lines)
    columns = (
        Column("run", "key"),
        Column("model", "key"),
        Column("against"),
        Column("before", "number"),
        Column("after", "number"),
        Column("change", "number"),
        Column("difference", "number"),
        Column("languages", "number"),
        Column("scorer"),
    )
    cells = [
        (
            label,
            line.model if line.seeds == 1 else f"{line.model} ({line.seeds} seeds)",
            line.parent,
            f"{line.parent_value:.3f}",
            f"{line.model_value:.3f}",
            "–" if line.change is None else f"{line.change:+.0%}",
            bounded(line.difference, line.ci_low, line.ci_high, "+"),
            str(line.languages),
            line.scorer if len(scorers) > 1 else "",  # the title names a single scorer; an empty column is not shown
        )
        for label, line in lines
    ]
    title = f"{', '.join(metrics) or 'toxicity'}, mean over languages ({', '.join(scorers) or 'no comparison'})"
    rows = [{"run": label, **line._asdict()} for label, line in lines]
    output.write(Listing(("run", *Headline._fields), rows, [TerminalTable(title, columns, cells)]))


def write_verdicts(output: Output, verdicts: Sequence[gate.Verdict]) -> None:
    """Write each verdict with its checks, and the reasons for findings that did not pass."""
    tables: list[TerminalTable | str] = []
    for verdict in verdicts:
        output.say(f"gate: {verdict.verdict}, {verdict.model} against {verdict.parent}", COLOURS[verdict.verdict])
        output.say(verdict.reason)
        if len(verdicts) > 1:
            tables.append(f"{verdict.model} against {verdict.parent}: {verdict.verdict}")
        tables += _verdict_tables(verdict)
    rows = [
        {
            "model": verdict.model,
            "parent": verdict.parent,
            "asked": check.asked,
            "check_verdict": check.verdict,
            "language": finding.language,
            "before": finding.before,
            "after": finding.after,
            "value": finding.value,
            "ci_low": finding.low,
            "ci_high": finding.high,
            "p_value": finding.p_value,
            "verdict": finding.verdict,
            "reason": finding.reason,
        }
        for verdict in verdicts
        for check in verdict.checks
        for finding in check.findings
    ]
    fields = ("model", "parent", "asked", "check_verdict", "language", "before", "after", "value")
    output.write(Listing((*fields, "ci_low", "ci_high", "p_value", "verdict", "reason"), rows, tables))


def _verdict_tables(verdict: gate.Verdict) -> list[TerminalTable]:
    """Return a table of a verdict's checks, and a table of the findings that did not pass for each check."""
    checks = [(check.asked, str(check.result), Text(check.verdict, COLOURS[check.verdict])) for check in verdict.checks]
    check_columns = (Column("asked"), Column("result", "number"), Column("verdict", "word"))
    finding_columns = (
        Column("language", "key"),
        Column("result", "number"),
        Column("verdict", "word"),
        Column("reason"),
    )
    tables = [TerminalTable("", check_columns, checks)]
    for check in verdict.checks:
        findings = [
            (
                finding.language,
                str(finding.numbers),
                Text(finding.verdict, COLOURS[finding.verdict]),
                finding.reason,
            )
            for finding in check.findings
            if finding.verdict != gate.PASS
        ]
        if findings:
            tables.append(TerminalTable(check.asked, finding_columns, findings))
    return tables
