"""The data of the page at /: models, scorers, languages with example prompts, the form's defaults and limits."""

from importlib import resources

import yaml
from pydantic import BaseModel

from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.example_prompts import SAMPLES
from detox_ray.serve.spec import ServeSpec


class Example(BaseModel):
    """A prompt that the page offers."""

    text: str
    seed: int  # the seed with which the models write the same completions as in the run
    gain: float | None  # how much less toxic the tuned models were on it than their parents; null: unknown
    veiled: bool  # whether it is a prompt of the run, which may be toxic and is blurred until chosen


class LanguageExamples(BaseModel):
    """A language and its examples."""

    code: str
    name: str
    direction: str  # "ltr" or "rtl"
    examples: list[Example]


class ModelChoice(BaseModel):
    """A model that the form offers."""

    name: str
    parent: str | None  # the model that it was tuned from, if that is served, too
    verdict: str | None  # the gate's verdict in the run's report, with its reason


class FormDefaults(BaseModel):
    """The form's initial values: the experiment's sampling, with fewer samples."""

    samples: int
    temperature: float
    top_p: float
    max_tokens: int


class FormLimits(BaseModel):
    """The most that a request may ask for."""

    samples: int
    max_tokens: int


class PageData(BaseModel):
    """Everything that the page at / shows."""

    title: str
    models: list[ModelChoice]
    scorers: list[str]
    primary: str | None
    threshold: float  # a completion with at least this value by the primary scorer is toxic
    languages: list[LanguageExamples]
    defaults: FormDefaults
    most: FormLimits


def page_data(spec: ServeSpec) -> PageData:
    """Return the page's data. The examples of a language are the run's prompts or, if it has none, built-in ones."""
    file = resources.files("detox_ray.serve.pages").joinpath("examples.yaml")
    built_in: dict[str, list[str]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    examples: dict[str, list[Example]] = {code: [] for code in LANGUAGES}
    for prompt in spec.prompts:
        examples[prompt.language].append(Example(text=prompt.text, seed=prompt.seed, gain=prompt.gain, veiled=True))
    for code, texts in built_in.items():
        examples[code] = examples[code] or [Example(text=text, seed=0, gain=None, veiled=False) for text in texts]
    verdicts = {row["model"]: f"{row['verdict']}. {row['reason']}" for row in spec.verdicts}
    limits, sampling = spec.config.limits, spec.generate
    return PageData(
        title=spec.title,
        models=[
            ModelChoice(name=name, parent=spec.parents.get(name), verdict=verdicts.get(name)) for name in spec.models
        ],
        scorers=[scorer.name for scorer in spec.scorers],
        primary=spec.primary,
        threshold=spec.threshold,
        languages=[
            LanguageExamples(
                code=language.code,
                name=language.name,
                direction=language.direction,
                examples=examples[language.code],
            )
            for language in LANGUAGES.values()
        ],
        defaults=FormDefaults(
            samples=min(SAMPLES, limits.n, sampling.samples),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_tokens, limits.max_tokens),
        ),
        most=FormLimits(samples=limits.n, max_tokens=limits.max_tokens),
    )
