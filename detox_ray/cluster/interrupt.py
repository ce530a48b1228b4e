"""Remembering that a person, or the cluster, asked the run to stop.

Python drops a KeyboardInterrupt that is raised while a destructor runs, such as those of Ray's object references: a
Ctrl-C at the end of a job would be lost. So the handler also takes a note, and every long step, which reports its
progress, looks at it.
"""

from types import FrameType

_asked = False


def handler(signal_number: int, frame: FrameType | None) -> None:
    """Handle SIGINT and SIGTERM."""
    global _asked
    _asked = True
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt if a stop was asked for."""
    if _asked:
        raise KeyboardInterrupt
