"""Handling of requests to stop, from a person or from the cluster.

Python drops a KeyboardInterrupt that is raised while a destructor runs, such as those of Ray's object references, so a
Ctrl-C at the end of a job would be lost. The handler therefore also sets a flag, which every long step checks when it
reports progress.
"""

import signal
import threading
from types import FrameType

_asked = False
_listening = False


def listen() -> None:
    """Install the handlers of SIGINT and SIGTERM. Clusters end a job with SIGTERM."""
    global _listening
    _listening = True
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def listen_again() -> None:
    """Restore the handlers after ``ray.init``, whose handler of SIGTERM ends the process with exit code 15."""
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
