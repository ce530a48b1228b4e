"""A verdict on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detox_ray.gate.verdict import FAIL, INCONCLUSIVE, PASS, Verdict, figure

_COLOURS = {PASS: "green", FAIL: "red", INCONCLUSIVE: "yellow"}


def show(console: Console, verdict: Verdict) -> None:
    """Print the verdict, its checks, and the reason for everything that did not pass."""
    console.print(f"gate: {_coloured(verdict.verdict)}, {escape(verdict.model)} against {escape(verdict.parent)}")
    table = Table("asked", "found", "verdict")
    for check in verdict.checks:
        table.add_row(escape(check.asked), escape(check.found), _coloured(check.verdict))
    console.print(table)
    for check in verdict.checks:
        open_ones = [finding for finding in check.findings if finding.verdict != PASS]
        if open_ones:
            console.print(escape(check.asked), style="bold")
        for finding in open_ones:
            place = escape(f"{finding.language:<6} {figure(finding):<24}")
            console.print(f"  {place} {_coloured(finding.verdict)}: {escape(finding.reason)}")


def _coloured(word: str) -> str:
    return f"[bold {_COLOURS[word]}]{word}[/]"
