"""Progress reports: live bars on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from detox_ray.cluster import interrupt

LOG_LINES = 10  # approximate number of plain lines per task


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class ProgressTask:
    """One long step, with its units done, rate and time left."""

    def __init__(self, console: Console, label: str, total: int, unit: str, bars: Bars | None, done: int = 0):
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._console, self._bars, self._before = console, bars, done
        self._started = time.monotonic()
        self._every = max(1, total // LOG_LINES)
        self._id = bars.add_task(label, total=total, completed=done, note="") if bars else None

    def advance(self, units: int = 1, note: str = "") -> None:
        """Add ``units`` to the units done; ``note`` describes the latest ones (loss, rate)."""
        interrupt.check()
        before = self.done
        self.done += units
        if self._bars is not None and self._id is not None:
            self._bars.update(self._id, completed=self.done, note=note)
        elif self.done // self._every > before // self._every or self.done >= self.total:
            elapsed, counted = time.monotonic() - self._started, self.done - self._before
            left = elapsed / counted * (self.total - self.done) if counted else 0.0
            rate = f"{counted / elapsed:.2f} {self.unit}/s, " if elapsed > 0 else ""
            tail = f", {note}" if note else ""
            self._console.print(
                f"{self.label}: {self.done}/{self.total} {self.unit}, {rate}{_duration(left)} left{tail}", markup=False
            )


class Progress:
    """The reporter of a run's steps on standard error: live bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        interrupt.check()
        self.console.print(message, markup=False)

    @contextmanager
    def task(self, label: str, total: int, unit: str = "units", done: int = 0) -> Iterator[ProgressTask]:
        """Yield a task, of which ``done`` units were done before; rate and time left do not count them."""
        interrupt.check()
        if not self.console.is_terminal:
            yield ProgressTask(self.console, label, total, unit, None, done)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Bars(*columns, console=self.console) as bars:
            yield ProgressTask(self.console, label, total, unit, bars, done)

    @contextmanager
    def steps(self, prefix: str) -> Iterator[Callable[[str, int, int, float], None]]:
        """Yield a callback ``report(name, done, total, loss)``, which shows one task per name."""
        with ExitStack() as stack:
            tasks: dict[str, ProgressTask] = {}

            def report(name: str, done: int, total: int, loss: float) -> None:
                if name not in tasks:
                    stack.close()
                    tasks[name] = stack.enter_context(self.task(f"{prefix}: {name}", total, "steps"))
                tasks[name].advance(done - tasks[name].done, f"loss {loss:.3f}")

            yield report
