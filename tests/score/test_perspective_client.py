"""The Perspective scorer against a real HTTP server on loopback. Waits are recorded, not slept."""

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from perspective_server import Answer, Close, Hang, Reply, Server, error, scores, serve

from detox_ray.config import InputError
from detox_ray.config.languages import GROUPS
from detox_ray.score import perspective_requests
from detox_ray.score.perspective_client import PerspectiveScorer
from detox_ray.score.perspective_requests import check, revision
from detox_ray.score.rate_limiter import Limiter, LocalLimiter
from detox_ray.score.scorers import Failure, Noting, ServiceDown

KEY = "AIzaSy-not-a-real-key"


class Slept:
    """Stands for time.sleep and for the limiter: nothing waits, everything is written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.pauses: list[float] = []
        self.intervals: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, seconds: float) -> None:
        with self._lock:
            if seconds:
                self.waits.append(seconds)

    def reserve(self, interval: float) -> float:
        with self._lock:
            self.intervals.append(interval)
        return 0.0

    def pause(self, seconds: float) -> None:
        with self._lock:
            self.pauses.append(seconds)


@pytest.fixture
def slept() -> Slept:
    return Slept()


def scorer(server: Server | str, slept: Slept, limiter: Limiter | None = None, **changes: Any) -> PerspectiveScorer:
    settings: dict[str, Any] = {
        "key_env": "TEST_KEY",
        "attributes": ["toxicity"],
        "queries_per_second": 100.0,
        "max_bytes": 100,
        "timeout": 5.0,
        "retries": 3,
        **changes,
    }
    url = server if isinstance(server, str) else server.url
    return PerspectiveScorer("perspective", url, **settings, limiter=limiter or slept, sleep=slept)


def test_a_score_comes_back_and_the_request_is_the_protocols(slept: Slept) -> None:
    with serve() as server:
        found = scorer(server, slept, attributes=["toxicity", "severe_toxicity"]).score(["hello", "du"], "de")
    assert found == [{"toxicity": 0.25, "severe_toxicity": 0.25}] * 2
    assert server.paths == ["/v1alpha1/comments:analyze"] * 2
    assert sorted(server.requests, key=str)[0] == {
        "comment": {"text": "du", "type": "PLAIN_TEXT"},
        "languages": ["de"],
        "requestedAttributes": {"TOXICITY": {}, "SEVERE_TOXICITY": {}},
        "doNotStore": True,
    }


def test_results_stand_in_the_order_of_the_texts_though_many_are_in_flight(slept: Slept) -> None:
    texts = [f"{number / 200:.3f}" for number in range(200)]
    with serve(otherwise=lambda body: scores(value=float(body["comment"]["text"]))) as server:
        found = scorer(server, slept, timeout=60.0).score(texts, "en")
    assert found == [{"toxicity": float(text)} for text in texts]
    assert slept.intervals == [0.01] * 200


def test_the_date_of_scoring_is_noted_for_the_service_has_no_version(slept: Slept) -> None:
    before = datetime.now(UTC).date()
    with serve() as server:
        asked = scorer(server, slept)
        asked.score(["x"], "en")
    assert isinstance(asked, Noting)
    assert before <= date.fromisoformat(asked.notes["scored_on"]) <= datetime.now(UTC).date()


def test_every_language_of_the_project_is_asked_for_by_the_apis_name() -> None:
    assert set(perspective_requests.LANGUAGES) == set(GROUPS["rtp-lx-17"])
    named = {code: perspective_requests.api_language(code) for code in ("pt", "zh", "zh-Hans", "zh-hans", "hi-Latn")}
    assert named == {"pt": "pt", "zh": "zh", "zh-Hans": "zh", "zh-hans": "zh", "hi-Latn": "hi-Latn"}


TRANSIENT: dict[str, Reply] = {
    "429": error(429, "Quota exceeded", {"Retry-After": "0"}),
    "429 without a time": error(429, "Quota exceeded"),
    "500": error(500, "Internal error"),
    "503 of a proxy": Answer(503, b"<html>down</html>"),
    "408": error(408, "slow"),
    "closed": Close(),
    "garbage": Answer(200, b"{not json"),
    "other JSON": Answer(200, b'{"attributeScores": {"INSULT": {}}}'),
    "a list": Answer(200, b"[]"),
    "damaged compression": Answer(200, b"no gzip", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_what_was_not_answered_is_asked_again_until_it_is(reply: Reply, slept: Slept) -> None:
    with serve({"x": [reply, reply, scores(value=0.75)]}) as server:
        assert scorer(server, slept).score(["x"], "en") == [{"toxicity": 0.75}]
    assert server.times("x") == 3


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_given_up_it_is_a_failure_and_never_a_score(reply: Reply, slept: Slept) -> None:
    with serve({"x": [reply]}) as server:
        first, second, third = scorer(server, slept).score(["a", "x", "b"], "en")
    assert first == third == {"toxicity": 0.25}
    assert isinstance(second, Failure) and "requests sent: 4" in second.reason
    assert server.times("x") == 4


def test_a_server_that_hangs_is_asked_again_after_the_timeout(slept: Slept) -> None:
    with serve({"x": [Hang(), scores(value=0.5)], "y": [Hang()]}) as server:
        found = scorer(server, slept, timeout=1.0, retries=1).score(["x", "a", "b", "y"], "en")
    assert found[:3] == [{"toxicity": 0.5}, {"toxicity": 0.25}, {"toxicity": 0.25}]
    assert found[3] == Failure("no answer: ReadTimeout (requests sent: 2)")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Attribute TOXICITY does not support request languages: xx"),
        (400, "Comment must be non-empty."),
        (400, "Unknown requested attribute: TOXICITYY"),
        (413, "Request too large"),
    ],
)
def test_a_refused_text_is_a_failure_in_the_servers_words_and_not_asked_again(
    status: int, message: str, slept: Slept
) -> None:
    with serve({"x": [error(status, message)]}) as server:
        assert scorer(server, slept).score(["x"], "en") == [Failure(f"{status}: {message}")]
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.0001, "0.5", None, True, [0.5]])
def test_a_value_that_is_no_number_from_0_to_1_is_a_failure(value: Any, slept: Slept) -> None:
    with serve({"x": [scores(value=value)]}) as server:
        (found,) = scorer(server, slept).score(["x"], "en")
    assert isinstance(found, Failure) and "not a number in [0, 1]" in found.reason
    assert len(server.requests) == 1


def test_text_that_cannot_be_sent_fails_without_a_request(slept: Slept) -> None:
    with serve() as server:
        found = scorer(server, slept, max_bytes=4).score(["éé", "ééx", "\ud83d"], "fr")
    assert found[0] == {"toxicity": 0.25}
    assert found[1] == Failure("is 5 bytes long; max_bytes is 4")
    assert isinstance(found[2], Failure)
    assert [body["comment"]["text"] for body in server.requests] == ["éé"]


def test_waits_double_at_most_and_are_random(slept: Slept, monkeypatch: pytest.MonkeyPatch) -> None:
    most: list[float] = []
    monkeypatch.setattr(
        "detox_ray.score.perspective_requests.random.uniform", lambda low, high: most.append(high) or high / 2
    )
    with serve({"x": [error(500, "no")]}) as server:
        scorer(server, slept, retries=8).score(["x", "a"], "en")
    assert most == [1, 2, 4, 8, 16, 32, 60, 60]
    assert slept.waits == [high / 2 for high in most]


def test_retry_after_is_honoured_for_everyone_on_429_and_for_the_text_on_503(slept: Slept) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    script: dict[str, list[Reply]] = {
        "x": [error(429, "slow down", {"Retry-After": "7"}), error(429, "", {"Retry-After": until}), scores()],
        "y": [error(503, "busy", {"Retry-After": "3"}), scores()],
    }
    with serve(script) as server:
        assert scorer(server, slept).score(["x", "y"], "en") == [{"toxicity": 0.25}] * 2
    assert slept.waits == [3.0]
    assert slept.pauses[0] == 7.0 and 95 < slept.pauses[1] <= 100


def test_a_wait_that_outlasts_a_run_is_not_waited_for(slept: Slept) -> None:
    with serve({"x": [error(429, "daily quota", {"Retry-After": "86400"})]}) as server:
        found = scorer(server, slept).score(["a", "x"], "en")
    assert found[1] == Failure("429: daily quota (requests sent: 1)")
    assert slept.pauses == []


@pytest.mark.parametrize("retry_after", ["soon", "nan", "", "inf"])
def test_a_retry_after_that_says_nothing_leaves_it_to_us(retry_after: str, slept: Slept) -> None:
    with serve({"x": [error(429, "no", {"Retry-After": retry_after}), scores()]}) as server:
        assert scorer(server, slept).score(["x"], "en") == [{"toxicity": 0.25}]
    assert len(slept.pauses) == 1 and 0 <= slept.pauses[0] <= 1


def down(found: Sequence[str], server: Server | str, slept: Slept, **changes: Any) -> str:
    with pytest.raises(ServiceDown) as raised:
        scorer(server, slept, **changes).score(found, "en")
    assert raised.value.__cause__ is None and raised.value.__context__ is None
    return str(raised.value)


def test_a_server_that_is_down_from_the_start_is_given_up_soon(slept: Slept) -> None:
    texts = [str(number) for number in range(500)]
    with serve(otherwise=lambda _: error(500, "no")) as server:
        said = down(texts, server, slept, retries=1, queries_per_second=1.0)
    assert "5 texts in a row got no answer; last: 500: no (requests sent: 2)" in said
    assert len(server.requests) < 100


def test_a_server_that_goes_down_on_the_way_is_given_up(slept: Slept) -> None:
    answered = 0

    def reply(body: dict[str, Any]) -> Reply:
        nonlocal answered
        answered += 1
        return scores() if answered <= 100 else Close()

    with serve(otherwise=reply) as server:
        said = down([str(number) for number in range(500)], server, slept, retries=0)
    assert "in a row got no answer" in said and len(server.requests) < 400  # not all; some were on their way


def test_where_nobody_listens_the_service_is_down(slept: Slept) -> None:
    with serve() as server:
        address = server.url
    assert "ConnectError" in down(["x"], address, slept)


def test_most_of_a_batch_without_an_answer_means_that_the_service_is_down(slept: Slept) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        return scores() if int(body["comment"]["text"]) % 3 == 0 else error(500, "no")

    with serve(otherwise=reply) as server:
        said = down([str(number) for number in range(30)], server, slept, retries=0, queries_per_second=0.5)
    assert "20 of 30 texts got no answer" in said


def test_a_single_text_that_the_server_dies_of_does_not_look_like_an_outage(slept: Slept) -> None:
    with serve({"x": [error(500, "no")]}) as server:
        assert scorer(server, slept, retries=0).score(["x"], "en") == [Failure("500: no (requests sent: 1)")]
    with serve(otherwise=lambda _: error(500, "no")) as server:
        down(["x"], server, slept, retries=0)


@pytest.mark.parametrize(
    "reply",
    [
        error(400, f"API key {KEY} not valid.", status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]),
        error(403, f"Method doesn't allow {KEY}"),
        error(401, "who?"),
        Answer(404, b"nothing here"),
        Answer(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"}),
    ],
    ids=["bad key", "403", "401", "404", "redirect"],
)
def test_a_server_that_refuses_everybody_is_down_at_once(
    reply: Reply, slept: Slept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    with serve(otherwise=lambda _: reply) as server:
        said = down([str(number) for number in range(100)], server, slept, queries_per_second=1.0)
    assert "refuses every request" in said and KEY not in said
    assert len(server.requests) < 50


def test_the_key_goes_into_a_header_and_nowhere_else(
    slept: Slept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    script: dict[str, list[Reply]] = {
        "x": [error(500, f"key={KEY}")],
        "y": [error(400, f"bad request with {KEY}")],
        "z": [scores(value=KEY)],
        "c": [Close()],
    }
    with caplog.at_level(logging.DEBUG), serve(script) as server:
        found = scorer(server, slept, retries=1).score(["a", "b", "d", "e", *script], "en")
    assert {headers["x-goog-api-key"] for headers in server.headers} == {KEY}
    assert KEY not in str(server.paths) + str(server.requests) + str(found) + caplog.text
    assert sum(isinstance(result, Failure) for result in found) == 4
    assert caplog.text, "httpx logs requests, which is why the key may not be in the URL"


def test_googles_key_is_not_sent_to_another_server(slept: Slept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    with serve() as server:
        scorer(server, slept, key_env="PERSPECTIVE_API_KEY").score(["x"], "en")
    assert "x-goog-api-key" not in server.headers[0]


def test_wrong_settings_are_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    google = "https://commentanalyzer.googleapis.com"
    monkeypatch.delenv("MY_KEY", raising=False)
    assert [problem.field for problem in check(google, "MY_KEY")] == ["key_env"]
    assert check("http://scores.example", "MY_KEY") == []
    monkeypatch.setenv("MY_KEY", KEY)
    assert check(google, "MY_KEY") == check("http://127.0.0.1:8000", "MY_KEY") == []
    for url in ("http://scores.example", "ftp://scores.example", "scores.example", f"{google}?key={KEY}", "http://"):
        (problem,) = check(url, "MY_KEY")
        assert problem.field == "url" and KEY not in str(problem)
    monkeypatch.setenv("MY_KEY", "with\nnewline")
    (problem,) = check(google, "MY_KEY")
    assert problem.field == "key_env" and "newline" not in str(problem)
    with pytest.raises(InputError, match="scorer mine: key_env"):
        PerspectiveScorer("mine", google, "MY_KEY", ["toxicity"], 1, 100, 1, 0, limiter=LocalLimiter())


def test_the_revision_names_server_and_attributes_in_any_order() -> None:
    assert revision("http://a/", ["toxicity", "insult"]) == revision("http://a", ["insult", "toxicity"])
    assert revision("http://a", ["toxicity"]) != revision("http://b", ["toxicity"])
    assert revision("http://a", ["toxicity"]) != revision("http://a", ["insult"])
