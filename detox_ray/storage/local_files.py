"""Local files that a command writes beside a storage, such as a calibration."""

import errno
import tempfile
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # no space on the disk, or none left in the user's quota


def why_unwritable(path: Path) -> str | None:
    """Return why a file cannot be written, as far as can be known beforehand; None if nothing is in the way.

    The file's folder need not exist yet. Nothing is left on the disk.
    """
    try:
        if path.is_dir():
            return "it is a folder"
        existing = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror or str(error)
