"""API keys: how they are made, kept as hashes only, and compared. No web framework.

A key is 32 random bytes, so one SHA-256 hides it as well as a slow hash would. Wherever keys are kept there are lines
``NAME:sha256:HEX``; NAME is what logs and limits call the key's holder.
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

ENVIRONMENT = "DETOX_RAY_API_KEYS"  # lines, or parted by commas
PREFIX = "detox-"  # lets scanners of leaked secrets find one
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63}):sha256:(?P<digest>[0-9a-f]{64})")


class Entry(NamedTuple):
    """A key as it is kept."""

    name: str
    digest: str  # SHA-256 in hex

    def __str__(self) -> str:
        return f"{self.name}:sha256:{self.digest}"


def make(name: str) -> tuple[str, Entry]:
    """A new key and what is kept of it. Raises ConfigError for a name that no line could hold."""
    key = PREFIX + secrets.token_urlsafe(32)
    entry = Entry(name, _digest(key))
    if not _LINE.fullmatch(str(entry)):
        rule = "letters, digits, '.', '_' and '-' only, beginning with a letter or digit, 64 at most"
        raise ConfigError([Problem("NAME", name, rule)])
    return key, entry


def holder(key: str, entries: Sequence[Entry]) -> str | None:
    """Whose key it is; the time taken does not tell how near a wrong one came, or which right one it was."""
    digest, found = _digest(key), None
    for entry in entries:
        if hmac.compare_digest(digest, entry.digest):
            found = entry.name
    return found


def of(config: ServeConfig, environment: Mapping[str, str] = os.environ) -> list[Entry] | None:
    """The keys that requests need; None where they need none.

    They are on where ``require_key`` says so, and, if it says nothing, where the host is beyond loopback or keys are
    given. Raises ConfigError where a line is malformed or keys are on and there is none; it quotes no line, for it
    might hold a key.
    """
    found, problems = [], []
    for place, text in _places(config, environment):
        for number, line in enumerate(re.split(r"[\n,]", text), 1):
            if not (line := line.strip()) or line.startswith("#"):
                continue
            if match := _LINE.fullmatch(line):
                found.append(Entry(match["name"], match["digest"]))
            else:
                rule = "must be NAME:sha256:HEX, as `detox-ray keys NAME` prints it; keys themselves are not kept"
                problems.append(Problem(place, f"entry {number}", rule))
    wanted = config.require_key
    if wanted is None:
        wanted = bool(found) or beyond_loopback(config.host)
    if wanted and not found and not problems:
        why = f"host {config.host} is beyond loopback" if config.require_key is None else "require_key is on"
        rule = f"must name a file of hashed keys (or set ${ENVIRONMENT}): {why}. `detox-ray keys NAME` makes one"
        problems.append(Problem("serve.api_keys", config.api_keys, rule))
    if problems:
        raise ConfigError(problems)
    return found if wanted else None


def beyond_loopback(host: str) -> bool:
    """Whether others than this machine can reach a service bound to ``host``."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def _places(config: ServeConfig, environment: Mapping[str, str]) -> list[tuple[str, str]]:
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
