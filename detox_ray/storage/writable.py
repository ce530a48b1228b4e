"""Check whether a storage can be written, by writing a file there and removing it.

Permissions would not tell: root passes all of them, and they do not cover read-only mounts, full disks or buckets. The
check leaves nothing behind, and processes that check or use the same folder at the same time do not disturb each other.
"""

import os
import re
import uuid
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.fs as pafs

from detox_ray.config.storage_uri import Location
from detox_ray.storage.conditional_writes import ObjectFile

PROBE = os.urandom(1 << 16)  # large enough to fail on a full disk, and random, so that no file system can compress it


def filesystem(location: Location) -> pafs.FileSystem:
    """Return the filesystem of ``location``. Raises OSError if the store does not answer or has no such bucket."""
    options = dict(location.options)
    if location.scheme == "s3":
        return pafs.FileSystem.from_uri(f"s3://{location.bucket}?{urlencode(options)}")[0]  # finds the bucket's region
    if location.scheme == "gs":
        limit = options.pop("retry_limit_seconds", None)
        return pafs.GcsFileSystem(retry_time_limit=limit and timedelta(seconds=float(limit)), **options)
    return pafs.LocalFileSystem()


def why_not(location: Location) -> str | None:
    """Return, in words, why nothing can be written at ``location``; None if it is writable."""
    return _object_store(location) if location.scheme else _folder(Path(location.path))


def _folder(folder: Path) -> str | None:
    new_folders: list[Path] = []
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        for attempt in range(100):
            try:
                _make(folder, new_folders)
                with probe.open("xb") as stream:
                    stream.write(PROBE)
                    stream.flush()
                    os.fsync(stream.fileno())
                if probe.read_bytes() != PROBE:
                    return f"{folder} returns other bytes than were written there: check the disk"
                return None
            except FileNotFoundError:  # another check removed a folder that it had made
                if attempt == 99:
                    raise
    except OSError as error:
        return f"{error.filename or folder} cannot be created or written ({error.strerror or error})"
    finally:
        for path, remove in ((probe, os.unlink), *((path, os.rmdir) for path in reversed(new_folders))):
            try:
                remove(path)
            except OSError:  # it was not made, or another process uses the folder now
                continue
    return None


def _make(folder: Path, new_folders: list[Path]) -> None:
    """Create ``folder`` and its missing parents, and append each new folder to ``new_folders``, parents first."""
    for path in (*reversed(folder.parents), folder):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not path.is_dir():
                raise NotADirectoryError(20, "is a file, not a folder", str(path)) from None
        except OSError:
            if not path.is_dir():
                raise
        else:
            new_folders.append(path)


def _object_store(location: Location) -> str | None:
    probe = location.child(f".probe-{uuid.uuid4().hex}")
    file = ObjectFile(probe)
    try:
        with filesystem(location).open_output_stream(probe.in_bucket) as stream:
            stream.write(PROBE)
        try:
            if file.create(b"a file that is there already") is not None:
                return f"{_NO_CONDITIONS} (it overwrote a file although the request asked to write only if absent)"
        finally:
            file.delete()
    except (OSError, ValueError, pa.ArrowException) as error:
        return in_words(error, location)
    return None


_NO_CONDITIONS = (
    "the server has no conditional writes (If-None-Match), so two runs could use one folder at once: "
    "use a newer version of it, or another storage"
)


def in_words(error: Exception, location: Location) -> str:
    """Return what an object store's error means, followed by the error's own text, shortened."""
    text = " ".join(str(error).split())
    upper = text.upper().replace("_", "").replace(" ", "")
    if "NOSUCHBUCKET" in upper or re.search("bucket .{0,80}not found", text, re.IGNORECASE):
        words = f"{location.endpoint} has no bucket {location.bucket!r}: create it, or correct the name"
    elif "501" in text or "NOTIMPLEMENTED" in upper:
        words = _NO_CONDITIONS
    elif any(sign in upper for sign in _DENIED):
        words = f"{location.endpoint} denies access to the bucket {location.bucket!r}: check the credentials"
    elif any(sign in upper for sign in _UNREACHABLE):
        words = f"{location.endpoint} cannot be reached: check the endpoint and the network"
    else:
        words = f"{location.endpoint} refuses to write"
    return f"{words} ({text if len(text) <= 300 else text[:297] + '...'})"


_DENIED = ("ACCESSDENIED", "FORBIDDEN", "INVALIDACCESSKEY", "SIGNATUREDOESNOTMATCH", "UNAUTHORIZED", "CREDENTIAL")
_UNREACHABLE = ("NETWORKCONNECTION", "COULDNOTCONNECT", "ERRORSENDINGREQUEST", "COULDN'TRESOLVE", "TIMEOUT", "TIMEDOUT")
