"""Signed links to a run's report.

A browser that follows a link sends no API key. So where keys are on, the list of runs (which is behind a key) hands
out links that say until when they hold. They are signed with the hashes of the keys: every gateway process can check
them, nothing is kept, and a change of the keys ends them all. Who got hold of the hashes could read reports; no more.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence

VALID_S = 3600
OPEN = "report"  # stands in the links where no key is needed


class Tickets:
    """Makes and checks the part of a link that gives access to one run's report."""

    def __init__(self, key_hashes: Sequence[str]):
        self._secret = hashlib.sha256("\n".join(sorted(key_hashes)).encode()).digest() if key_hashes else None

    def make(self, run: str) -> str:
        """For one run, from now on for an hour."""
        return OPEN if self._secret is None else self._signed(self._secret, run, int(time.time()) + VALID_S)

    def allows(self, run: str, ticket: str) -> bool:
        """Whether the ticket was made for this run and still holds."""
        if self._secret is None:
            return ticket == OPEN
        until = ticket.partition("-")[0]
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        return hmac.compare_digest(ticket.encode(), self._signed(self._secret, run, int(until)).encode()) and (
            int(until) >= time.time()
        )

    def _signed(self, secret: bytes, run: str, until: int) -> str:
        return f"{until}-{hmac.new(secret, f'{run} {until}'.encode(), hashlib.sha256).hexdigest()}"
