"""The Perspective API, or any server that speaks its protocol (docs/papers.md, "The Perspective API").

Nothing that goes wrong becomes a score. A refused text (400: language, length, attribute) is a Failure with the
server's words. A request that is not answered (429, 5xx, time-out, closed connection, an answer that is not the
protocol's) is sent again, after the time that Retry-After says, or after a random part of a time that doubles; if it is
given up, the text is a Failure, too. If the server refuses everybody (key, address), or most of a batch was given up,
`ServiceDown` keeps the unit from being committed, so that a later run asks again.

The retries are our own and not a library's: a pause for all processes, and the end of the whole batch while others
wait, are what they consist of.

The service has no version and is retrained without notice (arXiv 2304.12397), so the revision names only server and
attributes. Scores of different dates need not agree: `notes` holds the date, for the unit's marker.

The key comes from the environment and goes into a header, never into a URL, which clients and servers log. It is sent
over https (or to this machine) only, and the key under its default name, which is Google's, only to Google.
"""

import itertools
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from detox_ray.config import InputError, Problem
from detox_ray.score.rate_limiter import Limiter, limiter_for
from detox_ray.score.scorers import Failure, Scores, ServiceDown

if TYPE_CHECKING:
    import httpx

# Of the TOXICITY family (docs/papers.md, "The Perspective API"), by this project's codes.
LANGUAGES = ("ar", "cs", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "zh")
GOOGLE = "commentanalyzer.googleapis.com"
GOOGLES_KEY = "PERSPECTIVE_API_KEY"  # the environment variable whose key is sent to Google only
PATH = "/v1alpha1/comments:analyze"
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; the limit of a random wait doubles from one to the other
LONGEST_ASKED = 300.0  # seconds; a server that asks for a longer wait has no more to give in this run
ANSWER_TIME = 2.0  # seconds that an answer is assumed to take: requests in flight = rate * this
MOST_IN_FLIGHT = 64
DOWN_FROM_THE_START, DOWN_LATER = 5, 20  # texts that are given up in a row until the service counts as down

PROBE = "Good morning."


def api_language(code: str) -> str:
    """Return the API's name of a language: it knows one Chinese."""
    return "zh" if code.lower().startswith("zh") else code


def revision(url: str, attributes: Sequence[str]) -> str:
    """Name what is known of the model that answers: its server and attributes."""
    return f"{_address(url)} {','.join(sorted(attributes))}"


def check(url: str, key_env: str) -> list[Problem]:
    """Check what can be checked before a request is sent. Fields are the scorer's own."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return [Problem("url", url.partition("?")[0], "must be http(s)://host, with a path at most and no '?'")]
    key = os.environ.get(key_env)
    if parts.hostname == GOOGLE and not key:
        return [Problem("key_env", key_env, "the environment variable that holds the API's key is not set")]
    if key and _sends_key(url, key_env) and not (parts.scheme == "https" or parts.hostname in THIS_MACHINE):
        return [Problem("url", url, f"must be https, for the key in {key_env} would be sent in the clear")]
    if key and not (key.isprintable() and key.isascii()):
        return [Problem("key_env", key_env, "the key it holds must be printable ASCII")]
    return []


class PerspectiveScorer:
    """A client with several requests in flight. Its arguments are the fields of a definition."""

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
        """Make the client, without a request. Raises InputError for what `check` finds."""
        import httpx

        for problem in check(url, key_env):
            raise InputError(f"scorer {name}: {problem}")
        self.name, self.attributes = name, tuple(attributes)
        self.device = str(urlsplit(url).netloc)
        self.notes: dict[str, Any] = {}
        self._interval, self._max_bytes, self._retries = 1 / queries_per_second, max_bytes, retries
        self._limiter = limiter or limiter_for(_address(url), key_env)
        self._sleep = sleep
        self._in_flight = max(2, min(MOST_IN_FLIGHT, math.ceil(queries_per_second * ANSWER_TIME)))
        self._key = os.environ.get(key_env, "") if _sends_key(url, key_env) else ""
        self._url = _address(url) + PATH
        self._client = httpx.Client(
            timeout=timeout,
            headers={"x-goog-api-key": self._key} if self._key else {},
            limits=httpx.Limits(max_connections=self._in_flight),
        )

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        """Return a result for each text, in order. Raises ServiceDown."""
        self.notes["scored_on"] = datetime.now(UTC).date().isoformat()
        results: dict[int, Scores | Failure] = {}
        send: list[int] = []
        for row, text in enumerate(texts):
            failure = self._unsendable(text)
            if failure is None:
                send.append(row)
            else:
                results[row] = failure
        stop = threading.Event()
        with ThreadPoolExecutor(self._in_flight) as pool:
            row_of = {pool.submit(self._score_text, texts[row], language, stop): row for row in send}
            try:
                outage = _Outage(self.name)
                for future in as_completed(row_of):
                    result = future.result()
                    outage.see(result)
                    results[row_of[future]] = Failure(result.reason) if isinstance(result, _GivenUp) else result
                outage.end(lambda: isinstance(self._score_text(PROBE, "en", stop), _GivenUp))
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        return [results[row] for row in range(len(texts))]

    def _unsendable(self, text: str) -> Failure | None:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return Failure("holds half of a surrogate pair, which is no character")
        if size > self._max_bytes:
            return Failure(f"is {size} bytes long; max_bytes is {self._max_bytes}")
        return None

    def _score_text(self, text: str, language: str, stop: threading.Event) -> "Scores | Failure | _GivenUp":
        body = {
            "comment": {"text": text, "type": "PLAIN_TEXT"},
            "languages": [api_language(language)],
            "requestedAttributes": {attribute.upper(): {} for attribute in self.attributes},
            "doNotStore": True,
        }
        reason = ""
        for attempt in itertools.count():
            self._sleep(self._limiter.reserve(self._interval))
            if stop.is_set():
                return _GivenUp("not sent: the service was given up")
            answer = self._send(body)
            if not isinstance(answer, _Retry):
                return answer
            reason = f"{answer.reason} (requests sent: {attempt + 1})"
            if attempt == self._retries or (answer.wait or 0) > LONGEST_ASKED:
                return _GivenUp(reason)
            # Full jitter: callers that failed together do not come back together.
            wait = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)) if answer.wait is None else answer.wait
            if answer.everyone:
                self._limiter.pause(wait)
            else:
                self._sleep(wait)
        raise AssertionError("the last attempt returns")

    def _send(self, body: dict[str, Any]) -> "Scores | Failure | _Retry":
        """Send one request. Raises ServiceDown if the server refuses all requests."""
        import httpx

        try:
            response = self._client.post(self._url, json=body)
        except httpx.RequestError as failed:
            return _Retry(f"no answer: {type(failed).__name__}")
        status, error = response.status_code, _error(response)
        message = self._public(str(error.get("message") or response.text or response.reason_phrase))
        if status == 200:
            return self._scores(response)
        if status == 429:
            return _Retry(f"429: {message}", _retry_after(response.headers.get("Retry-After")), everyone=True)
        if status >= 500 or status == 408:
            return _Retry(f"{status}: {message}", _retry_after(response.headers.get("Retry-After")))
        bad_key = "API_KEY" in json.dumps(error.get("details"))  # Google's word for it
        if status in (400, 413, 422) and not bad_key:
            return Failure(f"{status}: {message}")
        # Without a cause: an exception of httpx holds the request, and with it the key.
        raise ServiceDown(f"{self.name}: the server refuses every request ({status}: {message})")

    def _scores(self, response: "httpx.Response") -> "Scores | Failure | _Retry":
        try:
            scores = json.loads(response.content)["attributeScores"]
            values = {name: scores[name.upper()]["summaryScore"]["value"] for name in self.attributes}
        except (ValueError, KeyError, TypeError, RecursionError):
            return _Retry("200, but the answer is not the protocol's")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                return Failure(f"{name}: the server gave {self._public(repr(value))}, no number in [0, 1]")
        return {name: float(value) for name, value in values.items()}

    def _public(self, text: str) -> str:
        """Make a text fit for logs and tables: short, on one line, without the key."""
        shown = text.replace(self._key, "***") if self._key else text
        return " ".join(shown.split())[:200]


class _Outage:
    """Tells a service that is down from single texts that get no answer. Raises ServiceDown."""

    def __init__(self, name: str):
        self._name, self._answered, self._lost, self._in_a_row, self._last = name, 0, 0, 0, ""

    def see(self, result: "Scores | Failure | _GivenUp") -> None:
        if not isinstance(result, _GivenUp):
            self._answered += 1
            self._in_a_row = 0
            return
        self._lost, self._in_a_row, self._last = self._lost + 1, self._in_a_row + 1, result.reason
        if self._in_a_row >= (DOWN_LATER if self._answered else DOWN_FROM_THE_START):
            raise ServiceDown(f"{self._name}: {self._in_a_row} texts in a row got no answer; last: {self._last}")

    def end(self, silent: Callable[[], bool]) -> None:
        """Judge a whole batch. ``silent`` sends a harmless text, and decides if too few were sent to tell."""
        if self._lost > self._answered and (self._lost >= DOWN_FROM_THE_START or silent()):
            asked = self._lost + self._answered
            raise ServiceDown(f"{self._name}: {self._lost} of {asked} texts got no answer; last: {self._last}")


class _GivenUp(NamedTuple):
    """A text that got no answer however often it was sent."""

    reason: str


class _Retry(NamedTuple):
    """Why a request should be sent again."""

    reason: str
    wait: float | None = None  # seconds that the server asks for; None: it does not say
    everyone: bool = False  # all requests must wait, not this one alone


def _address(url: str) -> str:
    return url.rstrip("/")


def _sends_key(url: str, key_env: str) -> bool:
    return urlsplit(url).hostname == GOOGLE or key_env != GOOGLES_KEY


def _error(response: "httpx.Response") -> dict[str, Any]:
    """Return the ``error`` object of Google's protocol; empty if there is none."""
    try:
        error = json.loads(response.content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds them or a date; None if it holds neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
