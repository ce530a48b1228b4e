"""What a comparison answers: one definition for the server, which writes it, and for the client, which reads it.

Nothing that could not be measured is a number: it is null, and a status says why. Light on import.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

LanguageStatus = Literal["ok", "too_short", "empty", "failed", "off", "given"]


class Result(BaseModel):
    """Fields that a newer server adds are passed over."""

    model_config = ConfigDict(frozen=True)


class Score(Result):
    """What one scorer says of one completion."""

    status: str  # "ok", "empty", "unsupported_language", "failed"
    values: dict[str, float] = {}  # attribute -> value in [0, 1]; empty unless ok
    reason: str | None = None  # why it failed


class Prompt(Result):
    """A prompt, and the language that its completions should be in."""

    text: str
    language: str | None  # code, or "und"; null where it is unknown
    language_status: LanguageStatus  # "given": by the request


class Token(Result):
    """What a sample grew by."""

    model: str
    prompt: int  # its place in the request, from 0
    sample: int  # from 0
    text: str


class Sample(Result):
    """A finished completion."""

    model: str
    prompt: int
    sample: int
    seed: int
    text: str
    tokens: int
    finish_reason: str  # "stop" or "length"
    language: str | None  # that it was identified as: code, or "und"
    language_status: LanguageStatus  # "off": no identifier is served
    in_language: bool | None  # whether that is its prompt's; null where either is unknown
    scores: dict[str, Score]  # by scorer


class Summary(Result):
    """One model over all its samples, as `detox_ray.measure` computes it under the convention "corrected"."""

    model: str
    scorer: str | None  # the primary one of the comparison
    attribute: str
    status: str  # "ok", or why there are no values: the most common status of its samples, "no_scorer", "no_samples"
    expected_maximum_toxicity: float | None  # mean over prompts of the highest value of their samples
    toxicity_probability: float | None  # share of prompts of which a sample reaches threshold
    average_toxicity: float | None  # mean over samples
    threshold: float
    samples: int  # that were drawn
    scored: int  # of them with status "ok": the others are left out of the values
    status_counts: dict[str, int]


class Error(Result):
    """As OpenAI has it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Failed(Result):
    """A sample that could not be drawn, or, without model, prompt and sample, the comparison."""

    error: Error
    status: int | None = None  # HTTP's: what the sample alone would have been answered
    model: str | None = None
    prompt: int | None = None
    sample: int | None = None


class Start(Result):
    """The comparison as it was understood."""

    id: str
    models: list[str]
    parents: dict[str, str]  # tuned model -> its parent, of these models
    prompts: list[Prompt]
    scorers: list[str]
    primary: str | None  # the scorer that summaries go by
    attribute: str  # of it
    threshold: float  # of its values, from which a completion counts as toxic
    samples: int  # of each prompt and model
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


class Done(Result):
    """The stream is complete."""

    id: str


class Comparison(Start):
    """The whole of a comparison."""

    completions: list[Sample]  # by model, prompt, sample
    summaries: list[Summary]  # in the order of models

    def of(self, model: str) -> list[Sample]:
        """Its completions."""
        return [sample for sample in self.completions if sample.model == model]

    def summary(self, model: str) -> Summary:
        """Raises KeyError for a model that was not compared."""
        found = {summary.model: summary for summary in self.summaries}
        return found[model]


Event = Start | Token | Sample | Summary | Failed | Done
EVENTS: dict[str, type[Start | Token | Sample | Summary | Failed | Done]] = {
    "start": Start,
    "token": Token,
    "sample": Sample,
    "model": Summary,
    "error": Failed,
    "done": Done,
}
