"""Read a storage as a user writes it: a folder, or the URI of an object store.

Spaces, percent signs, "#" and brackets in a bucket's path stand for themselves and are never decoded. Only a "?" that
options follow is special:

    s3://bucket/path?region=eu-west-1           s3://bucket/path?endpoint_override=host:9000&scheme=http

`file://` URIs are percent-encoded, as everywhere.
"""

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs"}  # as written -> as stored
OPTIONS = {
    "s3": ("region", "scheme", "endpoint_override", "allow_bucket_creation", "tls_ca_file_path"),
    "gs": ("scheme", "endpoint_override", "project_id", "retry_limit_seconds"),
}
_BUCKET = {"s3": r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", "gs": r"[a-z0-9]([a-z0-9._-]{0,220}[a-z0-9])?"}
_BUCKET_RULE = "a bucket's name has up to 63 of a-z, 0-9, '-' and '.', and begins and ends with a letter or digit"


class Location(NamedTuple):
    """A folder on this machine (no scheme), or a path in a bucket."""

    scheme: str  # "", s3 or gs
    bucket: str
    path: str  # absolute on this machine; without leading or trailing slashes in a bucket
    options: tuple[tuple[str, str], ...] = ()

    @property
    def uri(self) -> str:
        """Return the canonical form of this location, which `locate` reads back."""
        if not self.scheme:
            return self.path
        query = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self.scheme}://{self.in_bucket}{query}"

    @property
    def in_bucket(self) -> str:
        """Return bucket and path, as pyarrow's filesystems name a file."""
        return f"{self.bucket}/{self.path}" if self.path else self.bucket

    @property
    def endpoint(self) -> str:
        """Return the name of the object store for messages."""
        return dict(self.options).get("endpoint_override") or {"s3": "S3", "gs": "Google Cloud Storage"}[self.scheme]

    def child(self, name: str) -> "Location":
        separator = "" if self.path.endswith("/") or (not self.path and self.scheme) else "/"
        return self._replace(path=f"{self.path}{separator}{name}")

    @property
    def parent(self) -> "Location":
        if not self.scheme:
            return self._replace(path=str(Path(self.path).parent))
        return self._replace(path=self.path.rpartition("/")[0])


def locate(text: str) -> Location:
    """Read a storage. Raises ValueError with the rule that it breaks. The message does not show the options' values."""
    if not text.strip():
        raise ValueError("must not be empty: give a folder, s3://bucket/path or gs://bucket/path")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must not contain control characters or invalid Unicode")
    form = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(/*)", text)
    if form is None:
        return _local(text)
    scheme, slashes, rest = form[1].lower(), form[2], text[form.end() :]
    if scheme == "file" and slashes:
        return _file(slashes, rest)
    if scheme not in SCHEMES:
        if not slashes:
            return _local(text)  # a folder with a colon in its name
        rule = f"{form[1]}:// is not a storage: must be a folder, s3://bucket/path or gs://bucket/path"
        raise ValueError(f"{rule} (for a folder of this name write ./{form[1]}:…)")
    if slashes != "//":
        raise ValueError(
            f"must be written {SCHEMES[scheme]}://bucket/path (for a folder of this name write ./{form[1]}:…)"
        )
    return _remote(SCHEMES[scheme], rest)


def check_storage(text: str) -> str:
    """Return ``text`` unchanged. Raises ValueError with the rule that it breaks."""
    locate(text)
    return text


def _local(text: str) -> Location:
    try:
        return Location("", "", str(Path(text).expanduser().resolve()))
    except RuntimeError as error:  # raised by expanduser, and by resolve
        if text.startswith("~"):
            user = text.partition("/")[0]
            rule = f"there is no user {user[1:]!r}, so {user} is no folder; for a folder of this name write ./{text}"
            raise ValueError(rule) from None
        raise ValueError(f"cannot be resolved: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot be resolved: {error.strerror or error}") from None


def _file(slashes: str, rest: str) -> Location:
    if len(slashes) == 2 and not rest.startswith("localhost/"):
        raise ValueError("must name a folder on this machine, with three slashes: file:///folder")
    return _local("/" + unquote(rest.removeprefix("localhost/") if len(slashes) == 2 else rest))


def _remote(scheme: str, rest: str) -> Location:
    place, mark, query = rest.rpartition("?")
    options: tuple[tuple[str, str], ...] = ()
    if mark and re.fullmatch(r"\w+=[^&]*(&\w+=[^&]*)*&?", query):
        options = tuple(parse_qsl(query, keep_blank_values=True))
    else:
        place = rest
        if place.endswith("?"):
            place = place[:-1]
    known = OPTIONS[scheme]
    for name, _ in options:
        if name not in known:
            raise ValueError(f"has an unknown option {name!r} after the '?'; known: {', '.join(known)}")
    bucket, *folders = place.split("/")
    if not bucket:
        raise ValueError(f"names no bucket: must be {scheme}://bucket/path")
    if "@" in bucket:
        raise ValueError("credentials do not belong in a URI: set them in the environment")
    if not re.fullmatch(_BUCKET[scheme], bucket):
        raise ValueError(f"{bucket!r} cannot be a bucket: {_BUCKET_RULE}")
    folders = [folder for folder in folders if folder]
    if {".", ".."} & set(folders):
        raise ValueError("a path in a bucket cannot hold '.' or '..'")
    return Location(scheme, bucket, "/".join(folders), options)
