"""A client of `detox-ray serve`: compare models, follow a comparison as it is drawn, score a comment.

    from detox_ray.client import Client

    with Client("http://127.0.0.1:8000") as client:
        found = client.compare("Ты", models=["base", "detox"], samples=5)
        for model in found.models:
            print(model, found.summary(model).expected_maximum_toxicity)

Needs httpx and pydantic, and nothing else of detox_ray's dependencies.
"""

import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypedDict, TypeVar, Unpack

import httpx
from pydantic import BaseModel, ValidationError

from detox_ray.client.wire_types import EVENTS, Comparison, Done, Event, Failed

__all__ = ["Analysis", "Client", "Model", "Options", "ServiceError", "Span"]

R = TypeVar("R", bound=BaseModel)
TIMEOUT_S = 300.0


class ServiceError(Exception):
    """The service refused a request, failed at it, or does not answer."""

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
        self.status = status  # HTTP's; None: there was no answer
        self.param = param  # the request's field that is at fault
        self.code = code  # a word for programs, such as model_not_found
        self.retry_after_s = retry_after_s


class Model(BaseModel):
    """A model that is served."""

    id: str
    parent: str | None = None  # the model it was tuned from
    context: int  # tokens of prompt and answer at most
    chat: bool  # whether it has a chat template
    engine: str  # the model whose engine serves it


class Options(TypedDict, total=False):
    """Of a comparison."""

    models: list[str]
    samples: int  # of each prompt and model
    seed: int  # of sample 0; sample k has seed + k
    temperature: float
    top_p: float
    max_tokens: int
    scorers: list[str]
    language: str  # of the prompts; else detected


class Span(NamedTuple):
    """What one attribute says of a part of a comment."""

    text: str
    value: float


class Analysis(NamedTuple):
    """What scorers say of a comment. An attribute that is missing fell below its threshold."""

    values: dict[str, float]  # attribute -> value in [0, 1]
    spans: dict[str, list[Span]]  # attribute -> of each sentence, where that was asked for
    languages: list[str]  # that the comment was taken to be in


class Client:
    """Speaks to one service. Every method raises ServiceError."""

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
        """Ends its connections."""
        self._http.close()

    def models(self) -> list[Model]:
        """That are served."""
        return [_read(Model, each) for each in self._json("GET", "/v1/models")["data"]]

    def compare(self, prompt: str | Sequence[str], **options: Unpack[Options]) -> Comparison:
        """The same prompts and seeds through several models, each completion scored.

        What is not named is the service's default: all models and scorers, sampling as in the experiment.
        """
        body = _body(prompt, options)
        return _read(Comparison, self._json("POST", "/v1/compare", body))

    def stream(self, prompt: str | Sequence[str], **options: Unpack[Options]) -> Iterator[Event]:
        """As `compare`, event by event: Start, Tokens, Samples, Summaries, Done (`detox_ray.serve.compare`).

        A sample that failed is a Failed, and the others go on. Closing the iterator stops the comparison.
        """
        body = _body(prompt, options)
        try:
            with self._http.stream("POST", "/v1/compare", json=body | {"stream": True}) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise _error(response)
                yield from _events(_lines(response.iter_bytes()))
        except httpx.HTTPError as error:
            raise self._unreached(error) from None

    def analyze(
        self,
        text: str,
        attributes: Sequence[str] = ("TOXICITY",),
        *,
        languages: Sequence[str] = (),
        spans: bool = False,
    ) -> Analysis:
        """Scores of a comment by the Perspective API's attributes; NAME@scorer asks a certain scorer."""
        body = {
            "comment": {"text": text},
            "requestedAttributes": {attribute: {} for attribute in attributes},
            "languages": list(languages),
            "spanAnnotations": spans,
            "doNotStore": True,
        }
        answer = self._json("POST", "/v1alpha1/comments:analyze", body)
        found = answer.get("attributeScores", {})
        units = text.encode("utf-16-le")  # spans are counted in them
        return Analysis(
            {name: scores["summaryScore"]["value"] for name, scores in found.items()},
            {
                name: [
                    Span(units[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le"), span["score"]["value"])
                    for span in scores["spanScores"]
                ]
                for name, scores in found.items()
                if spans
            },
            answer.get("languages", []),
        )

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._unreached(error) from None
        if response.status_code != httpx.codes.OK:
            raise _error(response)
        try:
            return response.json()
        except ValueError:
            raise ServiceError("the answer is no JSON: is this a detox_ray service?", response.status_code) from None

    def _unreached(self, error: httpx.HTTPError) -> ServiceError:
        return ServiceError(f"no answer from {self._http.base_url}: {type(error).__name__}: {error}")


def _body(prompt: str | Sequence[str], options: Options) -> dict[str, Any]:
    return {"prompt": prompt if isinstance(prompt, str) else list(prompt), **options}


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Split at line feeds only: a completion may hold characters that Python takes for ends of lines, too."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Of a stream that ends with Done. Raises ServiceError where it breaks off, or the service fails at all of it."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data" and name in EVENTS:
            event = _read(EVENTS[name], json.loads(value))
            if isinstance(event, Failed) and event.sample is None:
                raise ServiceError(event.error.message, event.status, event.error.param, event.error.code)
            yield event
            if isinstance(event, Done):
                return
    raise ServiceError("the stream broke off")


def _read(kind: type[R], value: Any) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ServiceError(f"the answer is not as expected: {error}") from None


def _error(response: httpx.Response) -> ServiceError:
    try:
        error = response.json()["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(response.reason_phrase or "no reason given", response.status_code)
    said = response.headers.get("retry-after", "")
    wait = float(said) if said.isdecimal() else None
    code = error["code"] if isinstance(error.get("code"), str) else None  # Google's form has the status there
    return ServiceError(message, response.status_code, error.get("param"), code, wait)
