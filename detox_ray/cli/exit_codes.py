"""How a command ends: what it raises becomes a message and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from detox_ray.config import ConfigError, InputError
from detox_ray.storage.lock import Locked, LockLost

DONE, FAILED, WRONG_INPUT, STOPPED, INCONCLUSIVE = 0, 1, 2, 3, 4
COMMITTED = "what was committed stays"
RESUMABLE = f"{COMMITTED}; the same command goes on from there"

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the workers' logs, and tracebacks.")]


@contextmanager
def exit_codes(verbose: bool = False, interrupted: str = RESUMABLE) -> Iterator[None]:
    """Turn what the block raises into a message and one of the four exit codes.

    Args:
        verbose: Whether an unexpected exception is raised again, for its traceback.
        interrupted: The message that tells a user who interrupted the block what that means.
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
        raise typer.Exit(WRONG_INPUT) from None
    except (InputError, Locked) as error:
        late = isinstance(error, InputError) and error.found_late
        say(f"[bold red]{'stopped' if late else 'nothing was started'}:[/] {escape(str(error))}")
        if late:
            say(COMMITTED)
        raise typer.Exit(WRONG_INPUT) from None
    except LockLost as error:
        say(f"[bold yellow]stopped[/]: {escape(str(error))}")
        raise typer.Exit(STOPPED) from None
    except KeyboardInterrupt:
        say(f"[bold yellow]stopped[/]: {interrupted}")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        if verbose:
            raise
        say(f"[bold red]failed:[/] {escape(str(error) or type(error).__name__)}")
        say(f"{COMMITTED}; --verbose shows the traceback and the workers' logs")
        raise typer.Exit(FAILED) from None
