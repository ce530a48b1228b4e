"""Local files that a command writes beside a storage, such as a calibration."""

import tempfile
from pathlib import Path


def why_unwritable(path: Path) -> str | None:
    """Return why a file cannot be written, as far as can be known beforehand; None if nothing is in the way.

    The folder that the file belongs to is made if it is not there.
    """
    if path.is_dir():
        return "it is a folder"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return None
    except OSError as error:
        return error.strerror or str(error)
