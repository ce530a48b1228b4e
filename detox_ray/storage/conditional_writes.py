"""Files whose every version is written by one process only: create if absent, replace if unchanged.

On an object store this is a conditional PUT (If-None-Match, If-Match), which S3, GCS and most servers that speak their
protocols have; pyarrow does not offer it, obstore does. A retried request may find what it wrote itself, so contents
must differ from each other: each carries something of its own.

In a folder it is a rename of a directory with the content onto the name of the next version, which fails if that is
taken. Rename is atomic on every local file system and on the server of a network mount; no locks and no hard links are
needed. A version that is not the newest is withdrawn: the writer read too long ago.
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

Version = Any  # of a content: what `replace` compares


class Content(NamedTuple):
    """The content of a file, and the version that `replace` takes."""

    data: bytes
    version: Version


class ConditionalFile(Protocol):
    """Raises OSError if the storage cannot be reached, refuses, or has no conditional writes."""

    def read(self) -> Content | None:
        """Return the content; None if there is no such file."""

    def create(self, data: bytes) -> Version | None:
        """Write the file if it is absent. Returns None if it is there."""

    def replace(self, data: bytes, version: Version) -> Version | None:
        """Write the file if it still is ``version``. Returns None if it is not."""


def conditional_file(location: Location) -> ConditionalFile:
    return ObjectFile(location) if location.scheme else FolderFile(Path(location.path))


class FolderFile:
    """A folder with a folder for each version, the highest number the newest: FILE/0000000007/content."""

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self) -> Content | None:
        data = b""
        for _ in range(1000):  # newer versions may come faster than this reads; after that, the content is missing
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
        """A folder that holds the content, beside the versions."""
        for attempt in itertools.count():
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=".writing-"))
                break
            except FileNotFoundError:  # another process's check took the new, still empty folder away
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
            content = self.read()  # what this request wrote before it was sent again
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
    """Return the bucket for obstore, with the options and environment variables that pyarrow uses."""
    from obstore.store import GCSStore, S3Store

    options = dict(location.options)
    scheme, endpoint = options.get("scheme", "https"), options.get("endpoint_override")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"{scheme}://{endpoint}"
    # Bounded, so that the holder of a lock knows within a beat or two that the storage does not answer.
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
