"""Signed links to the reports of runs.

A browser that follows a link sends no API key. So if keys are on, the list of runs, which needs a key, contains links
that are valid for an hour. They are signed with the hashes of the keys, so that every gateway process can check them,
nothing is stored, and changing the keys invalidates all links. A person who obtains the hashes can read reports, but
do nothing else.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence

VALID_S = 3600
UNSIGNED = "report"  # replaces the signature if no key is needed


class SignedLinks:
    """The signatures in links, which give access to the report of one run."""

    def __init__(self, key_hashes: Sequence[str]):
        self._secret = hashlib.sha256("\n".join(sorted(key_hashes)).encode()).digest() if key_hashes else None

    def sign(self, run: str) -> str:
        """Return a signature for a run's report that is valid for an hour."""
        return UNSIGNED if self._secret is None else self._signature(self._secret, run, int(time.time()) + VALID_S)

    def is_valid(self, run: str, signature: str) -> bool:
        """Return whether the signature is for this run and has not expired."""
        if self._secret is None:
            return signature == UNSIGNED
        until = signature.partition("-")[0]
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        expected = self._signature(self._secret, run, int(until))
        return hmac.compare_digest(signature.encode(), expected.encode()) and int(until) >= time.time()

    def _signature(self, secret: bytes, run: str, until: int) -> str:
        return f"{until}-{hmac.new(secret, f'{run} {until}'.encode(), hashlib.sha256).hexdigest()}"
