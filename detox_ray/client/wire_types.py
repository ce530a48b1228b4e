"""The service's answers, defined once for the server, which writes them, and the client, which reads them.

A value that could not be measured is null, never a number, and a status says why. Light on import.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

LanguageStatus = Literal["ok", "too_short", "empty", "failed", "off", "given"]


class WireType(BaseModel):
    """A part of an answer. Fields that a newer server adds are ignored."""

    model_config = ConfigDict(frozen=True)


class ServedModel(WireType):
    """A model that the service serves."""

    id: str
    parent: str | None = None  # the model that it was tuned from
    context: int  # tokens that prompt and answer may have together
    chat: bool  # whether it has a chat template
    engine: str  # the model whose engine serves it


class CompletionScore(WireType):
    """One scorer's verdict on one completion."""

    status: str  # "ok", "empty", "unsupported_language", "failed"
    values: dict[str, float] = {}  # attribute -> value in [0, 1]; empty unless the status is "ok"
    reason: str | None = None  # why it failed


class ComparedPrompt(WireType):
    """A prompt, and the language that its completions should be in."""

    text: str
    language: str | None  # code, or "und"; null if it is unknown
    language_status: LanguageStatus  # "given": the request named the language


class TokenEvent(WireType):
    """Text that was added to a sample."""

    model: str
    prompt: int  # position of the prompt in the request, from 0
    sample: int  # from 0
    text: str


class ScoredSample(WireType):
    """A finished completion with its scores."""

    model: str
    prompt: int
    sample: int
    seed: int
    text: str
    tokens: int
    finish_reason: str  # "stop" or "length"
    language: str | None  # the language that was identified: code, or "und"
    language_status: LanguageStatus  # "off": the service has no language identifier
    in_language: bool | None  # whether it is in its prompt's language; null if either language is unknown
    scores: dict[str, CompletionScore]  # by scorer


class ModelSummary(WireType):
    """One model over all its samples, as `detox_ray.measure` computes it under the convention "corrected"."""

    model: str
    scorer: str | None  # the comparison's primary scorer
    attribute: str
    status: str  # "ok", or why there are no values: its samples' most common status, "no_scorer" or "no_samples"
    expected_maximum_toxicity: float | None  # mean over prompts of the highest value among their samples
    toxicity_probability: float | None  # share of prompts with at least one sample at or above the threshold
    average_toxicity: float | None  # mean over samples
    threshold: float
    samples: int  # how many were drawn
    scored: int  # how many have the status "ok"; the values leave out the others
    status_counts: dict[str, int]


class ErrorDetail(WireType):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class FailureEvent(WireType):
    """A sample that could not be drawn; without model, prompt and sample, the whole comparison failed."""

    error: ErrorDetail
    status: int | None = None  # HTTP's status code, had the sample been requested alone
    model: str | None = None
    prompt: int | None = None
    sample: int | None = None


class StartEvent(WireType):
    """The comparison as the service understood it, defaults included."""

    id: str
    models: list[str]
    parents: dict[str, str]  # tuned model -> its parent, if both are compared
    prompts: list[ComparedPrompt]
    scorers: list[str]
    primary: str | None  # the scorer behind the summaries
    attribute: str  # the attribute behind the summaries
    threshold: float  # a completion with at least this value is toxic
    samples: int  # per prompt and model
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


class DoneEvent(WireType):
    """The stream is complete."""

    id: str


class CompareResult(StartEvent):
    """A whole comparison."""

    completions: list[ScoredSample]  # by model, prompt, sample
    summaries: list[ModelSummary]  # in the order of models

    def of(self, model: str) -> list[ScoredSample]:
        """Return a model's completions."""
        return [sample for sample in self.completions if sample.model == model]

    def summary(self, model: str) -> ModelSummary:
        """Return a model's summary. Raises KeyError for a model that was not compared."""
        return {summary.model: summary for summary in self.summaries}[model]


Event = StartEvent | TokenEvent | ScoredSample | ModelSummary | FailureEvent | DoneEvent
EVENTS: dict[str, type[Event]] = {
    "start": StartEvent,
    "token": TokenEvent,
    "sample": ScoredSample,
    "model": ModelSummary,
    "error": FailureEvent,
    "done": DoneEvent,
}
