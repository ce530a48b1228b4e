"""A scorer that uses the Perspective API, or any server with the same protocol.

An error never becomes a score. A text that the server rejects is a Failure with the server's message, and so is a text
that is given up after all retries. If the server rejects every request, or most of a batch was given up, `ServiceDown`
keeps the unit from being committed, so that a later run asks again. perspective_requests.py sends the requests.

The service has no version and is retrained without notice (arXiv 2304.12397), so the revision names only the server and
the attributes. Scores from different dates may disagree, so `notes` holds the date, for the unit's marker.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from detox_ray.score.perspective_requests import (
    GivenUp,
    Outage,
    PerspectiveRequests,
    Refused,
    body_of,
    unsendable,
    values_of,
)
from detox_ray.score.rate_limiter import Limiter
from detox_ray.score.scorers import Failure, Scores

PROBE = "Good morning."


class PerspectiveScorer:
    """A client with several requests in flight. Its arguments are the fields of `PerspectiveConfig`."""

    def __init__(
        self,
        name: str,
        url: str,
        key_env: str,
        attributes: Sequence[str],
        queries_per_second: float,
        max_bytes: int,
        timeout: float,
        retries: int,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Create the client without sending a request. Raises InputError if `perspective_requests.check` fails."""
        self._requests = PerspectiveRequests(name, url, key_env, queries_per_second, timeout, retries, limiter, sleep)
        self.name, self.attributes = name, tuple(attributes)
        self.device = self._requests.host
        self.notes: dict[str, Any] = {}
        self._max_bytes = max_bytes

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        """Return a result for each text, in order. Raises ServiceDown if the service does not answer."""
        self.notes["scored_on"] = datetime.now(UTC).date().isoformat()
        results: dict[int, Scores | Failure] = {}
        send: list[int] = []
        for row, text in enumerate(texts):
            reason = unsendable(text, self._max_bytes)
            if reason is None:
                send.append(row)
            else:
                results[row] = Failure(reason)
        stop = threading.Event()
        with ThreadPoolExecutor(self._requests.in_flight) as pool:
            row_of = {pool.submit(self._score_text, texts[row], language, stop): row for row in send}
            try:
                outage = Outage(self.name)
                for future in row_of:  # not `as_completed`, which can leave futures locked if Ctrl-C interrupts it
                    result = future.result()
                    outage.see(result)
                    results[row_of[future]] = Failure(result.reason) if isinstance(result, GivenUp) else result
                outage.end(lambda: isinstance(self._score_text(PROBE, "en", stop), GivenUp))
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        return [results[row] for row in range(len(texts))]

    def _score_text(self, text: str, language: str, stop: threading.Event) -> Scores | Failure | GivenUp:
        answer = self._requests.ask(body_of(text, language, self.attributes), self.attributes, stop)
        if isinstance(answer, GivenUp):
            return answer
        if isinstance(answer, Refused):
            return Failure(answer.reason)
        values = values_of(answer.response, self.attributes)
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                shown = self._requests.public(repr(value))
                return Failure(f"{name}: the server returned {shown}, which is not a number in [0, 1]")
        return {name: float(value) for name, value in values.items()}
