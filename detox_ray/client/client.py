"""A client of `detox-ray serve`: compare models, follow a comparison as it is drawn, score a comment.

from detox_ray.client import Client

with Client("http://127.0.0.1:8000") as client:
    result = client.compare("Ты", models=["base", "detox"], samples=5)
    for summary in result.summaries:
        print(summary.model, summary.expected_maximum_toxicity)
"""

import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypedDict, TypeVar, Unpack

import httpx
from pydantic import BaseModel, ValidationError

from detox_ray.client.wire_types import EVENTS, CompareResult, DoneEvent, Event, FailureEvent, ServedModel

T = TypeVar("T", bound=BaseModel)
TIMEOUT_S = 300.0


class ServiceError(Exception):
    """The service rejected a request, failed on it, or does not answer.

    Args:
        message: What went wrong.
        status: HTTP's status code; None if there was no answer.
        param: The field of the request that is at fault.
        code: A word for programs, such as ``model_not_found``.
        retry_after_s: How long the service asks to wait before the next try.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ):
        super().__init__(message if status is None else f"{status}: {message}")
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


class CompareOptions(TypedDict, total=False):
    """The options of a comparison; the service has a default for each."""

    models: list[str]
    samples: int  # per prompt and model
    seed: int  # of sample 0; sample k has seed + k
    temperature: float
    top_p: float
    max_tokens: int
    scorers: list[str]
    language: str  # of the prompts; detected by default


class ScoredSpan(NamedTuple):
    """A part of a comment, and its value for one attribute."""

    text: str
    value: float


class CommentAnalysis(NamedTuple):
    """The scores of a comment. An attribute whose value fell below its threshold is missing."""

    values: dict[str, float]  # attribute -> value in [0, 1]
    spans: dict[str, list[ScoredSpan]]  # attribute -> its value for each sentence, if spans were requested
    languages: list[str]  # the languages that the comment was scored in


class Client:
    """A connection to one service. Every method raises ServiceError."""

    def __init__(self, url: str, key: str | None = None, timeout_s: float = TIMEOUT_S):
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def models(self) -> list[ServedModel]:
        """Return the models that the service serves."""
        return [_parse(ServedModel, model) for model in self._json("GET", "/v1/models")["data"]]

    def compare(self, prompt: str | Sequence[str], **options: Unpack[CompareOptions]) -> CompareResult:
        """Draw completions of the same prompts with the same seeds from several models, and score each.

        An option that is left out has the service's default: all models and scorers, sampling as in the experiment.
        """
        return _parse(CompareResult, self._json("POST", "/v1/compare", _body(prompt, options)))

    def stream(self, prompt: str | Sequence[str], **options: Unpack[CompareOptions]) -> Iterator[Event]:
        """Compare as `compare` does, and yield the events as they happen (`wire_types.EVENTS`).

        If a sample fails, a FailureEvent says so and the others go on. Closing the iterator stops the comparison.
        """
        body = _body(prompt, options)
        try:
            with self._http.stream("POST", "/v1/compare", json=body | {"stream": True}) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise _service_error(response)
                yield from _events(_lines(response.iter_bytes()))
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None

    def analyze(
        self,
        text: str,
        attributes: Sequence[str] = ("TOXICITY",),
        *,
        languages: Sequence[str] = (),
        spans: bool = False,
    ) -> CommentAnalysis:
        """Score a comment through the Perspective-compatible route.

        Args:
            text: The comment.
            attributes: Names of attributes. NAME@SCORER asks a certain scorer.
            languages: The languages that the comment may be in; detected by default.
            spans: Whether to score each sentence, too.
        """
        body = {
            "comment": {"text": text},
            "requestedAttributes": {attribute: {} for attribute in attributes},
            "languages": list(languages),
            "spanAnnotations": spans,
            "doNotStore": True,
        }
        answer = self._json("POST", "/v1alpha1/comments:analyze", body)
        scores_by_attribute = answer.get("attributeScores", {})
        utf16 = text.encode("utf-16-le")  # spans count UTF-16 code units
        return CommentAnalysis(
            {name: scores["summaryScore"]["value"] for name, scores in scores_by_attribute.items()},
            {
                name: [
                    ScoredSpan(utf16[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le"), span["score"]["value"])
                    for span in scores["spanScores"]
                ]
                for name, scores in scores_by_attribute.items()
                if spans
            },
            answer.get("languages", []),
        )

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._no_answer(error) from None
        if response.status_code != httpx.codes.OK:
            raise _service_error(response)
        try:
            return response.json()
        except ValueError:
            message = "the answer is not JSON: is this a detox_ray service?"
            raise ServiceError(message, response.status_code) from None

    def _no_answer(self, error: httpx.HTTPError) -> ServiceError:
        return ServiceError(f"no answer from {self._http.base_url}: {type(error).__name__}: {error}")


def _body(prompt: str | Sequence[str], options: CompareOptions) -> dict[str, Any]:
    return {"prompt": prompt if isinstance(prompt, str) else list(prompt), **options}


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Split at line feeds only: a completion may hold other characters that Python takes for line ends."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Yield a stream's events. Raises ServiceError if it ends before DoneEvent or the whole comparison fails."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data" and name in EVENTS:
            event = _parse(EVENTS[name], json.loads(value))
            if isinstance(event, FailureEvent) and event.sample is None:
                raise ServiceError(event.error.message, event.status, event.error.param, event.error.code)
            yield event
            if isinstance(event, DoneEvent):
                return
    raise ServiceError("the stream ended before the comparison was complete")


def _parse(kind: type[T], value: Any) -> T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ServiceError(f"the answer has an unexpected form: {error}") from None


def _service_error(response: httpx.Response) -> ServiceError:
    """Return the error of an answer: OpenAI's object, Google's, or whatever a proxy sent."""
    try:
        error = response.json()["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(response.reason_phrase or "no reason given", response.status_code)
    retry_after = response.headers.get("retry-after", "")
    retry_after_s = float(retry_after) if retry_after.isdecimal() else None
    code = error["code"] if isinstance(error.get("code"), str) else None  # in Google's object it is the status
    return ServiceError(message, response.status_code, error.get("param"), code, retry_after_s)
