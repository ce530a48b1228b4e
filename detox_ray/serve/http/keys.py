"""API keys: creating them, storing them as hashes, and comparing them. No web framework is needed.

A key has 32 random bytes, so one SHA-256 protects it as well as a slow hash would. Keys are stored as lines
``NAME:sha256:HEX``. NAME identifies the key's holder in logs and limits.
"""

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from detox_ray.config import ConfigError, Problem, ServeConfig

ENVIRONMENT = "DETOX_RAY_API_KEYS"  # holds such lines, separated by newlines or commas
PREFIX = "detox-"  # lets scanners for leaked secrets recognise a key
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63}):sha256:(?P<digest>[0-9a-f]{64})")


class HashedKey(NamedTuple):
    """A key in the form in which it is stored."""

    name: str
    digest: str  # SHA-256 in hex

    def __str__(self) -> str:
        return f"{self.name}:sha256:{self.digest}"


def new_key(name: str) -> tuple[str, HashedKey]:
    """Return a new key and the hash to store. Raises ConfigError if the name is malformed."""
    key = PREFIX + secrets.token_urlsafe(32)
    hashed = HashedKey(name, _digest(key))
    if not _LINE.fullmatch(str(hashed)):
        rule = "letters, digits, '.', '_' and '-' only, beginning with a letter or digit, 64 at most"
        raise ConfigError([Problem("NAME", name, rule)])
    return key, hashed


def key_holder(key: str, hashed_keys: Sequence[HashedKey]) -> str | None:
    """Return the name of the key's holder; None if the key is wrong.

    The time that this takes reveals neither which key matched nor how similar a wrong key is.
    """
    digest, holder = _digest(key), None
    for hashed in hashed_keys:
        if hmac.compare_digest(digest, hashed.digest):
            holder = hashed.name
    return holder


def required_keys(config: ServeConfig, environment: Mapping[str, str] = os.environ) -> list[HashedKey] | None:
    """Return the keys of which a request must have one; None if requests need no key.

    ``require_key`` decides whether requests need a key. By default they do if the host is beyond loopback or if any key
    is given.

    Raises:
        ConfigError: If a line is malformed, or a key is required and none is given. No line is quoted, because it might
            contain a key.
    """
    hashed_keys, problems = [], []
    for place, text in _places(config, environment):
        for number, raw in enumerate(re.split(r"[\n,]", text), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if match := _LINE.fullmatch(line):
                hashed_keys.append(HashedKey(match["name"], match["digest"]))
            else:
                rule = "must be NAME:sha256:HEX, as `detox-ray keys NAME` prints it; keys themselves are not kept"
                problems.append(Problem(place, f"entry {number}", rule))
    required = config.require_key
    if required is None:
        required = bool(hashed_keys) or is_beyond_loopback(config.host)
    if required and not hashed_keys and not problems:
        why = f"host {config.host} is beyond loopback" if config.require_key is None else "require_key is on"
        rule = f"must name a file of hashed keys (or set ${ENVIRONMENT}): {why}. `detox-ray keys NAME` makes one"
        problems.append(Problem("serve.api_keys", config.api_keys, rule))
    if problems:
        raise ConfigError(problems)
    return hashed_keys if required else None


def is_beyond_loopback(host: str) -> bool:
    """Return whether other machines can reach a service that is bound to ``host``."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def _places(config: ServeConfig, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the name and the text of each place that may contain keys."""
    places = [(f"${ENVIRONMENT}", environment.get(ENVIRONMENT, ""))]
    if config.api_keys is not None:
        try:
            places.append(("serve.api_keys", Path(config.api_keys).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            problem = Problem("serve.api_keys", config.api_keys, f"cannot be read: {reason}")
            raise ConfigError([problem]) from None
    return places


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
