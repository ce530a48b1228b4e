"""Send requests in the Perspective protocol (docs/papers.md, "The Perspective API"), retry them, and give them up.

A request without a valid answer (429, 5xx, time-out, closed connection, an answer in another format) is sent again,
after the time in Retry-After, or else after a random time below a limit that doubles. A 429 also halves the rate, which
then rises slowly (rate_limiter.Pace).

We do not use a library for the retries, because they must pause all processes, and must be able to end a whole batch
while some of its requests wait.

The key comes from the environment and goes into a header, never into a URL, which clients and servers log. It is sent
only over https or to this machine. A key in the default variable, PERSPECTIVE_API_KEY, is sent only to Google.
"""

import itertools
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from detox_ray.config import InputError, Problem
from detox_ray.score.rate_limiter import Limiter, Pace, limiter_for
from detox_ray.score.scorers import ServiceDown

if TYPE_CHECKING:
    import httpx

# Languages of the TOXICITY family (docs/papers.md, "The Perspective API"), by this project's codes.
LANGUAGES = ("ar", "cs", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "zh")
GOOGLE = "commentanalyzer.googleapis.com"
GOOGLES_KEY = "PERSPECTIVE_API_KEY"  # environment variable with a key that is sent only to Google
PATH = "/v1alpha1/comments:analyze"
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; the limit of the random wait doubles from the first to the second
LONGEST_ASKED = 300.0  # seconds; if a server asks for a longer wait, the text is given up
ANSWER_TIME = 2.0  # assumed seconds per answer; requests in flight = rate * this
MOST_IN_FLIGHT = 64
DOWN_FROM_THE_START, DOWN_LATER = 5, 20  # texts given up in a row before the service counts as down


class Answered(NamedTuple):
    """The service's answer to a text."""

    response: dict[str, Any]


class Refused(NamedTuple):
    """A text that the service rejects (400: language, length, attribute) and would reject again."""

    reason: str
    error: dict[str, Any]  # Google's error object; empty if the server does not send one


class GivenUp(NamedTuple):
    """A text that got no answer in spite of all retries."""

    reason: str


class Retry(NamedTuple):
    """A request that should be sent again."""

    reason: str
    wait: float | None = None  # seconds that the server asks to wait; None: it does not say
    everyone: bool = False  # True if all requests must wait, and not just this one


def api_language(code: str) -> str:
    """Return the API's code for a language. The API does not distinguish kinds of Chinese."""
    return "zh" if code.lower().startswith("zh") else code


def revision(url: str, attributes: Sequence[str]) -> str:
    """Return what is known about the model that answers: its server and attributes."""
    return f"{address(url)} {','.join(sorted(attributes))}"


def address(url: str) -> str:
    """Return a server's URL in its canonical form."""
    return url.rstrip("/")


def check(url: str, key_env: str) -> list[Problem]:
    """Return the problems that show before a request is sent. Their fields are those of the scorer's definition."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return [Problem("url", url.partition("?")[0], "must be http(s)://host or http(s)://host/path, without '?'")]
    key = os.environ.get(key_env)
    if parts.hostname == GOOGLE and not key:
        return [Problem("key_env", key_env, "the environment variable that holds the API's key is not set")]
    if key and _sends_key(url, key_env) and not (parts.scheme == "https" or parts.hostname in THIS_MACHINE):
        return [Problem("url", url, f"must be https, because the key in {key_env} would be sent in the clear")]
    if key and not (key.isprintable() and key.isascii()):
        return [Problem("key_env", key_env, "the key in this environment variable must be printable ASCII")]
    return []


def unsendable(text: str, max_bytes: int) -> str | None:
    """Return why a text cannot be sent; None if it can."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "contains half of a surrogate pair, which is not a character"
    return f"is {size} bytes long; max_bytes is {max_bytes}" if size > max_bytes else None


def body_of(
    text: str, language: str | None, attributes: Sequence[str], span_annotations: bool = False
) -> dict[str, Any]:
    """Return the request for a text. Without a language, the service detects it."""
    languages = {} if language is None else {"languages": [api_language(language)]}
    return {
        "comment": {"text": text, "type": "PLAIN_TEXT"},
        **languages,
        "requestedAttributes": {attribute.upper(): {} for attribute in attributes},
        **({"spanAnnotations": True} if span_annotations else {}),
        "doNotStore": True,
    }


def values_of(response: dict[str, Any], attributes: Sequence[str]) -> dict[str, Any]:
    """Return the summary score of each attribute. Raises ValueError if the answer does not follow the protocol."""
    try:
        scores = response["attributeScores"]
        return {name: scores[name.upper()]["summaryScore"]["value"] for name in attributes}
    except (KeyError, TypeError):
        raise ValueError("the answer does not follow the protocol") from None


class PerspectiveRequests:
    """A client of one server, with a rate that all processes share. Threads may call `ask` concurrently."""

    def __init__(
        self,
        name: str,
        url: str,
        key_env: str,
        queries_per_second: float,
        timeout: float,
        retries: int,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Create the client without sending a request. Raises InputError if `check` fails."""
        import httpx

        for problem in check(url, key_env):
            raise InputError(f"scorer {name}: {problem}")
        self.host = str(urlsplit(url).netloc)
        self.in_flight = max(2, min(MOST_IN_FLIGHT, math.ceil(queries_per_second * ANSWER_TIME)))
        self.pace = Pace(queries_per_second)
        self._name, self._retries = name, retries
        self._limiter = limiter or limiter_for(address(url), key_env)
        self._sleep = sleep
        self._key = os.environ.get(key_env, "") if _sends_key(url, key_env) else ""
        self._url = address(url) + PATH
        self._client = httpx.Client(
            timeout=timeout,
            headers={"x-goog-api-key": self._key} if self._key else {},
            limits=httpx.Limits(max_connections=self.in_flight),
        )

    def ask(
        self,
        body: dict[str, Any],
        attributes: Sequence[str],
        stop: threading.Event,
        before_sending: Callable[[], None] = lambda: None,
    ) -> Answered | Refused | GivenUp:
        """Send a request until it is answered, refused or given up.

        Args:
            body: The request, from `body_of`.
            attributes: Attributes that the answer must have.
            stop: If set, the request is not sent, or not sent again.
            before_sending: Called each time that the request is about to be sent.

        Raises:
            ServiceDown: The server rejects every request (key, address).
        """
        for attempt in itertools.count():
            self._sleep(self._limiter.reserve(self.pace.interval))
            if stop.is_set():
                return GivenUp("not sent: the service was given up")
            before_sending()
            sent = time.monotonic()
            answer = self._send(body, attributes)
            if not isinstance(answer, Retry):
                self.pace.answered()
                return answer
            reason = f"{answer.reason} (requests sent: {attempt + 1})"
            if answer.everyone:
                self.pace.refused(sent)
            if attempt == self._retries or (answer.wait or 0) > LONGEST_ASKED:
                return GivenUp(reason)
            # Full jitter, so that callers that failed together do not retry together.
            wait = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt)) if answer.wait is None else answer.wait
            if answer.everyone:
                self._limiter.pause(wait)
            else:
                self._sleep(wait)
        raise AssertionError("the last attempt returns")

    def _send(self, body: dict[str, Any], attributes: Sequence[str]) -> Answered | Refused | Retry:
        """Send one request. Raises ServiceDown if the server rejects all requests."""
        import httpx

        try:
            response = self._client.post(self._url, json=body)
        except httpx.RequestError as failed:
            return Retry(f"no answer: {type(failed).__name__}")
        status, error = response.status_code, _error(response)
        message = self.public(str(error.get("message") or response.text or response.reason_phrase))
        if status == 200:
            return _answered(response, attributes)
        if status == 429:
            return Retry(f"429: {message}", _retry_after(response.headers.get("Retry-After")), everyone=True)
        if status >= 500 or status == 408:
            return Retry(f"{status}: {message}", _retry_after(response.headers.get("Retry-After")))
        bad_key = "API_KEY" in json.dumps(error.get("details"))  # Google's word for it
        if status in (400, 413, 422) and not bad_key:
            return Refused(f"{status}: {message}", error)
        # No exception of httpx is chained, because it would hold the request and with it the key.
        raise ServiceDown(f"{self._name}: the server refuses every request ({status}: {message})")

    def public(self, text: str) -> str:
        """Return a text as logs and tables may show it: shortened, on one line, without the key."""
        shown = text.replace(self._key, "***") if self._key else text
        return " ".join(shown.split())[:200]


class Outage:
    """A judge of whether a service is down or only single texts get no answer. Raises ServiceDown if it is down."""

    def __init__(self, name: str):
        self._name, self._answered, self._lost, self._in_a_row, self._last = name, 0, 0, 0, ""

    def see(self, result: object) -> None:
        if not isinstance(result, GivenUp):
            self._answered += 1
            self._in_a_row = 0
            return
        self._lost, self._in_a_row, self._last = self._lost + 1, self._in_a_row + 1, result.reason
        if self._in_a_row >= (DOWN_LATER if self._answered else DOWN_FROM_THE_START):
            raise ServiceDown(f"{self._name}: {self._in_a_row} texts in a row got no answer; last: {self._last}")

    def end(self, silent: Callable[[], bool]) -> None:
        """Judge a whole batch. If it is too small to tell, ``silent`` decides, by sending a harmless text."""
        if self._lost > self._answered and (self._lost >= DOWN_FROM_THE_START or silent()):
            asked = self._lost + self._answered
            raise ServiceDown(f"{self._name}: {self._lost} of {asked} texts got no answer; last: {self._last}")


def _answered(response: "httpx.Response", attributes: Sequence[str]) -> Answered | Retry:
    try:
        answer = json.loads(response.content)
        values_of(answer, attributes)
    except (ValueError, RecursionError):
        return Retry("200, but the answer does not follow the protocol")
    return Answered(answer)


def _sends_key(url: str, key_env: str) -> bool:
    return urlsplit(url).hostname == GOOGLE or key_env != GOOGLES_KEY


def _error(response: "httpx.Response") -> dict[str, Any]:
    """Return the ``error`` object of Google's protocol; empty if the response has none."""
    try:
        error = json.loads(response.content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _retry_after(header: str | None) -> float | None:
    """Return the seconds to wait by a Retry-After header, which has seconds or a date; None if it has neither."""
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
