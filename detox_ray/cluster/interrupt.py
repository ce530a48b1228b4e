"""Remembering that a person, or the cluster, asked the run to stop.

Python drops a KeyboardInterrupt that is raised while a destructor runs, such as those of Ray's object references: a
Ctrl-C at the end of a job would be lost. So the handler also takes a note, and every long step, which reports its
progress, looks at it.
"""

import signal
import threading
from types import FrameType

_asked = False
_listening = False


def listen() -> None:
    """Let SIGINT and SIGTERM ask this process to stop. Clusters end a job with SIGTERM."""
    global _listening
    _listening = True
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def listen_again() -> None:
    """Take the signals back from ``ray.init``, whose own handler of SIGTERM ends the process with exit code 15."""
    if _listening and threading.current_thread() is threading.main_thread():
        listen()


def handler(signal_number: int, frame: FrameType | None) -> None:
    """Handle SIGINT and SIGTERM."""
    global _asked
    _asked = True
    raise KeyboardInterrupt


def check() -> None:
    """Raise KeyboardInterrupt if a stop was asked for."""
    if _asked:
        raise KeyboardInterrupt
