"""Files that change only by conditional writes: create if absent, replace if unchanged.

Of several processes that write the same version at the same time, exactly one succeeds.

On an object store this is a conditional PUT (If-None-Match, If-Match). S3, GCS and most servers that speak their
protocols support it; pyarrow does not offer it, but obstore does. A request that is retried may find its own first
write, so every content must be unique: a writer recognises its own by comparing bytes.

In a folder, each version is a directory. A writer prepares a directory with the content and renames it to the number of
the next version, which fails if that number is taken. Rename is atomic on every local file system and on the server of
a network mount, so neither locks nor hard links are needed. A writer that finds its version not to be the newest
withdraws it, because it read the file too long ago.
"""

import configparser
import contextlib
import itertools
import os
import shutil
import tempfile
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from detox_ray.config.storage_uri import Location

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Store

Version = Any  # identifies a version of the content; `replace` compares it


class Content(NamedTuple):
    """The content of a file, and the version that `replace` takes."""

    data: bytes
    version: Version


class ConditionalFile(Protocol):
    """A file with conditional writes.

    Every method raises OSError if the storage cannot be reached, refuses, or has no conditional writes.
    """

    def read(self) -> Content | None:
        """Return the content; None if there is no such file."""

    def create(self, data: bytes) -> Version | None:
        """Write the file if it is absent, and return the new version; return None if it exists."""

    def replace(self, data: bytes, version: Version) -> Version | None:
        """Write the file if it still has ``version``, and return the new version; return None if it does not."""


def conditional_file(location: Location) -> ConditionalFile:
    """Return the file at a location on this machine or in a bucket."""
    return ObjectFile(location) if location.scheme else FolderFile(Path(location.path))


class FolderFile:
    """A file kept as a folder with one folder per version, the highest number the newest: FILE/0000000007/content."""

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self) -> Content | None:
        data = b""
        for _ in range(1000):  # newer versions may replace the one that is about to be read; then the content is lost
            newest = self._newest()
            if not newest:
                return None
            try:
                data = (self._version(newest) / "content").read_bytes()
                break
            except FileNotFoundError:
                continue
        return Content(data, newest)

    def create(self, data: bytes) -> int | None:
        return None if self._newest() else self._write(data, 1)

    def replace(self, data: bytes, version: int) -> int | None:
        return self._write(data, version + 1)

    def _version(self, number: int) -> Path:
        return self._folder / f"{number:010d}"

    def _numbers(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(name) for name in os.listdir(self._folder) if name.isdecimal())
        return []

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _write(self, data: bytes, number: int) -> int | None:
        written = self._prepared(data)
        try:
            os.rename(written, self._version(number))
        except OSError:
            shutil.rmtree(written)
            if not self._version(number).is_dir():
                raise
            return None
        numbers = self._numbers()
        if max(numbers, default=0) != number:
            shutil.rmtree(self._version(number), ignore_errors=True)
            return None
        for older in itertools.takewhile(lambda other: other < number, numbers):
            shutil.rmtree(self._version(older), ignore_errors=True)
        return number

    def _prepared(self, data: bytes) -> Path:
        """Write the content into a new folder beside the versions, and return that folder."""
        for attempt in itertools.count():
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=".writing-"))
                break
            except FileNotFoundError:  # another process that checks the storage removed the folder while it was empty
                if attempt == 100:
                    raise
        (folder / "content").write_bytes(data)
        return folder


class ObjectFile:
    """An object of a bucket."""

    def __init__(self, location: Location):
        self._location = location

    @cached_property
    def _store(self) -> "S3Store | GCSStore":
        return object_store(self._location)

    def read(self) -> Content | None:
        import obstore

        try:
            answer = obstore.get(self._store, self._location.path)
            return Content(bytes(answer.bytes()), _version_of(answer.meta))
        except FileNotFoundError:
            return None
        except obstore.exceptions.BaseError as error:
            raise _refusal(error) from None

    def create(self, data: bytes) -> Version | None:
        return self._put(data, "create")

    def replace(self, data: bytes, version: Version) -> Version | None:
        return self._put(data, version)

    def delete(self) -> None:
        import obstore

        try:
            obstore.delete(self._store, self._location.path)
        except FileNotFoundError:
            return
        except obstore.exceptions.BaseError as error:
            raise _refusal(error) from None

    def _put(self, data: bytes, mode: Any) -> Version | None:
        import obstore

        try:
            return _version_of(obstore.put(self._store, self._location.path, data, mode=mode, use_multipart=False))
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            content = self.read()  # may be what this very request wrote before it was retried
            return content.version if content is not None and content.data == data else None
        except FileNotFoundError as error:
            if mode != "create":
                return None
            raise _refusal(error) from None
        except (obstore.exceptions.BaseError, NotImplementedError) as error:
            raise _refusal(error) from None


def _version_of(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}


def _refusal(error: Exception) -> OSError:
    return OSError(str(error).partition("\n\nDebug source")[0])


def object_store(location: Location) -> "S3Store | GCSStore":
    """Return obstore's view of the bucket, with the options and environment variables that pyarrow uses."""
    from obstore.store import GCSStore, S3Store

    options = dict(location.options)
    scheme, endpoint = options.get("scheme", "https"), options.get("endpoint_override")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{scheme}://{endpoint}"
    # Time-outs are short, so that the holder of a lock notices within a beat or two that the storage does not answer.
    shared: dict[str, Any] = {
        "client_options": {
            "allow_http": True,  # the endpoint decides
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=20),
        },
        "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
    }
    if location.scheme == "gs":
        if endpoint is not None:
            shared["base_url"] = endpoint
        return GCSStore(location.bucket, **shared)
    if endpoint is not None:
        shared["endpoint"] = endpoint
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        import pyarrow.fs as pafs

        region = pafs.resolve_s3_region(location.bucket)
    return S3Store(location.bucket, region=region or "us-east-1", **(shared | _profile_keys()))


def _profile_keys() -> dict[str, str]:
    """Return the keys of ~/.aws/credentials, which obstore does not read; none if the environment has them."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or str(Path("~/.aws/credentials").expanduser())
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    parser = configparser.RawConfigParser()
    try:
        parser.read(file)
        given = parser[profile]
    except (configparser.Error, KeyError, UnicodeDecodeError):
        return {}
    names = {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
    }
    return {ours: given[theirs] for theirs, ours in names.items() if theirs in given}
