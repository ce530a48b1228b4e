"""The blocks `quality`, `measure` and `report`: what is measured beside toxicity, how, and what the report shows."""

from typing import Literal

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, DType, Name, Problem, Strict


class FluencyConfig(Strict):
    """An evaluator of completions given their prompts: a causal model, or an mT5 as in Li et al. 2024."""

    name: Name
    model: Name | None = None  # one of the experiment's models
    path: str | None = None  # or a hub id or folder; a T5 is used as the paper's scripts do
    revision: str | None = None
    dtype: DType = "auto"

    @model_validator(mode="after")
    def _one_of(self) -> "FluencyConfig":
        if (self.model is None) == (self.path is None):
            raise ConfigError([Problem("path", self.path, "an evaluator has either a model or a path")])
        return self


class QualityConfig(Strict):
    """The possible costs of detoxification, measured on the completions."""

    fluency: list[FluencyConfig] = Field([])
    diversity: str | None = "words"  # its units: words, or a tokenizer (one of the models' names, a hub id, a folder)
    # identifies the language of a completion; of those that ship a model, the default is the more accurate
    identifier: Literal["py3langid", "lingua", "fasttext"] | None = "py3langid"
    fasttext: str | None = None  # the lid.176 model file; only with identifier: fasttext
    # a file of English words, one a line: for word_pass_rate as in Neplenbroek et al. 2025; else word_pass_rate_script
    word_list: str | None = None

    @model_validator(mode="after")
    def _fasttext_has_a_file(self) -> "QualityConfig":
        if (self.identifier == "fasttext") != (self.fasttext is not None):
            rule = "the model file lid.176.bin or .ftz: needed by identifier: fasttext, and only by it"
            raise ConfigError([Problem("fasttext", self.fasttext, rule)])
        if self.word_list is not None and self.identifier is None:
            raise ConfigError([Problem("word_list", self.word_list, "needs an identifier, which judges the lines")])
        if len({evaluator.name for evaluator in self.fluency}) < len(self.fluency):
            names = [evaluator.name for evaluator in self.fluency]
            raise ConfigError([Problem("fluency", names, "each name may occur once")])
        return self


class MeasureConfig(Strict):
    """The convention of metrics and its choices. Each can be set by itself; null takes the convention's."""

    # paper: Li et al. 2024; neplenbroek2025: Neplenbroek et al. 2025, both as their scripts compute; corrected: ours
    convention: Literal["paper", "neplenbroek2025", "corrected"] = "corrected"
    pooling: Literal["string", "row"] | None = None  # prompts of the same text are one, or each row counts
    at_threshold: Literal["toxic", "harmless"] | None = None  # how a score of exactly the threshold counts
    empty: Literal["blank", "zero", "skip"] | None = None  # an empty completion: scored as " ", 0, or left out
    wrong_language: Literal["count", "zero", "exclude"] | None = None  # a completion in another language
    perplexity_cap: float | None = Field(None, gt=0)  # completions at or above it are left out of fluency
    perplexity_terms: Literal["n", "n-1"] | None = None  # tokens that a mean loss is multiplied by
    dist_denominator: Literal["unigrams", "ngrams"] | None = None  # of dist-n
    bootstrap: int = Field(2000, ge=100)  # resamples
    confidence: float = Field(0.95, gt=0.5, lt=1)
    interval: Literal["percentile", "bca"] = "percentile"
    correction: Literal["holm", "benjamini-hochberg"] = "holm"  # over the languages of one metric
    threshold: float = Field(0.5, ge=0, le=1)  # of the score from which a completion is toxic
    macro: Literal["evidence", "all"] = "evidence"  # the mean over languages: those with evidence for a scorer, or all


class ReportConfig(Strict):
    """The size of the report's explorer of completions."""

    prompts: int = Field(20, ge=0)  # per language, in the explorer
    completions: int = Field(2, ge=1)  # per prompt and model
