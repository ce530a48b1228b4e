"""Turn what a command raises into a message and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from detox_ray.config import ConfigError, InputError
from detox_ray.storage.local_files import DISK_FULL
from detox_ray.storage.lock import Locked, LockLost

DONE, FAILED, WRONG_INPUT, STOPPED, INCONCLUSIVE, IN_USE = 0, 1, 2, 3, 4, 5
COMMITTED = "what was committed stays"
RESUMABLE = f"{COMMITTED}; give the same command again to go on from there"
AGAIN = "give the same command again to start over"


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that raises ``error``."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, ConfigError | InputError):
        return WRONG_INPUT
    if isinstance(error, Locked):
        return IN_USE
    if isinstance(error, LockLost | KeyboardInterrupt):
        return STOPPED
    return FAILED


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        place = error.filename or "the disk of the storage, of the cache or of temporary files"
        return f"no space is left on {place}: free some, and give the same command again"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


@contextmanager
def exit_codes(verbose: bool = False, commits: bool = False, interrupted: str | None = None) -> Iterator[None]:
    """Turn what the block raises into a message and an exit code.

    Args:
        verbose: Whether to raise an unexpected exception again, for its traceback.
        commits: Whether the block commits units to a run's folder, which stay there if it fails or is interrupted.
        interrupted: The message for a user who interrupts the block: what remains, and what to do next. The default
            depends on ``commits``.
    """
    say = Console(stderr=True, highlight=False, soft_wrap=True).print
    try:
        yield
    except ConfigError as error:
        count = len(error.problems)
        end = COMMITTED if error.found_late else "nothing was started"
        say(f"[bold red]{count} problem{'s' if count > 1 else ''}; {end}[/]")
        for problem in error.problems:
            say(f"  {escape(str(problem))}")
        raise typer.Exit(exit_code_of(error)) from None
    except (InputError, Locked) as error:
        late = isinstance(error, InputError) and error.found_late
        say(f"[bold red]{'stopped' if late else 'nothing was started'}:[/] {escape(str(error))}")
        if late:
            say(COMMITTED)
        raise typer.Exit(exit_code_of(error)) from None
    except LockLost as error:
        say(f"[bold yellow]stopped[/]: {escape(str(error))}")
        raise typer.Exit(exit_code_of(error)) from None
    except KeyboardInterrupt as error:
        say(f"[bold yellow]stopped[/]: {interrupted or (RESUMABLE if commits else AGAIN)}")
        raise typer.Exit(exit_code_of(error)) from None
    except Exception as error:
        if verbose:
            raise
        say(f"[bold red]failed:[/] {escape(_message(error))}")
        say(f"{f'{COMMITTED}; ' if commits else ''}--verbose shows the traceback and the workers' logs")
        raise typer.Exit(exit_code_of(error)) from None
