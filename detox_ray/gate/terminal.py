"""A verdict on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detox_ray.gate.finding import FAIL, INCONCLUSIVE, PASS
from detox_ray.gate.verdict import Verdict

_COLOURS = {PASS: "green", FAIL: "red", INCONCLUSIVE: "yellow"}


def show(console: Console, verdict: Verdict) -> None:
    """Print the verdict and why, its checks, and the reason for everything that did not pass."""
    console.print(f"gate: {_coloured(verdict.verdict)}, {escape(verdict.model)} against {escape(verdict.parent)}")
    console.print(escape(verdict.reason))
    table = Table("asked", "result", "verdict")
    for check in verdict.checks:
        table.add_row(escape(check.asked), escape(str(check.result)), _coloured(check.verdict))
    console.print(table)
    for check in verdict.checks:
        reasons = [finding for finding in check.findings if finding.verdict != PASS]
        if reasons or check.verdict != PASS:
            console.print(escape(check.asked), style="bold")
        if not reasons and check.verdict != PASS:
            console.print(f"  {_coloured(check.verdict)} {escape(check.reason)}")
        for finding in reasons:
            console.print(f"  {_coloured(finding.verdict)} {escape(finding.reason)}")


def _coloured(word: str) -> str:
    return f"[bold {_COLOURS[word]}]{word}[/]"
