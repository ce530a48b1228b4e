"""The blocks ``quality``, ``measure`` and ``report``: metrics beside toxicity, how they are computed and shown."""

from typing import Literal

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, DType, Name, Problem, Strict


class FluencyConfig(Strict):
    """An evaluator of completions, given their prompts: a causal model, or an mT5 as in Li et al. 2024."""

    name: Name
    model: Name | None = None  # one of the experiment's models; or else a path
    path: str | None = None  # hub id or folder; a T5 is used as in the paper's scripts
    revision: str | None = None  # with a hub id only: branch, tag or commit
    dtype: DType = "auto"

    @model_validator(mode="after")
    def _one_of(self) -> "FluencyConfig":
        if (self.model is None) == (self.path is None):
            raise ConfigError([Problem("path", self.path, "an evaluator needs either a model or a path")])
        return self


class QualityConfig(Strict):
    """The possible costs of detoxification, measured on the completions."""

    fluency: list[FluencyConfig] = Field([])
    diversity: str | None = "words"  # its units: words, or a tokenizer (one of the models' names, a hub id, a folder)
    # identifies the language of a completion; py3langid is more accurate than lingua, and both ship their models
    identifier: Literal["py3langid", "lingua", "fasttext"] | None = "py3langid"
    fasttext: str | None = None  # path of the model file lid.176.bin or .ftz; only with identifier: fasttext
    # a file of English words, one a line, for word_pass_rate as in Neplenbroek et al. 2025; null: the report has
    # word_pass_rate_script instead
    word_list: str | None = None

    @model_validator(mode="after")
    def _fasttext_has_a_file(self) -> "QualityConfig":
        if (self.identifier == "fasttext") != (self.fasttext is not None):
            rule = "must be set with identifier: fasttext, and only then, to the model file lid.176.bin or .ftz"
            raise ConfigError([Problem("fasttext", self.fasttext, rule)])
        if self.word_list is not None and self.identifier is None:
            raise ConfigError([Problem("word_list", self.word_list, "needs an identifier, to judge the lines")])
        if len({evaluator.name for evaluator in self.fluency}) < len(self.fluency):
            names = [evaluator.name for evaluator in self.fluency]
            raise ConfigError([Problem("fluency", names, "each name may occur only once")])
        return self


class MeasureConfig(Strict):
    """The computation of metrics: a convention, its choices, and the statistics.

    Each choice of the convention can be set by itself; null takes the convention's.
    """

    # paper: as the scripts of Li et al. 2024; neplenbroek2025: as those of Neplenbroek et al. 2025; corrected: ours
    convention: Literal["paper", "neplenbroek2025", "corrected"] = "corrected"
    pooling: Literal["string", "row"] | None = None  # string: prompts of the same text count as one; row: each counts
    at_threshold: Literal["toxic", "harmless"] | None = None  # how a score equal to the threshold counts
    # how an empty completion counts: blank: with the score of " "; zero: as 0; skip: it is left out
    empty: Literal["blank", "zero", "skip"] | None = None
    # how a completion in another language counts: count: as any other; zero: as 0; exclude: it is left out
    wrong_language: Literal["count", "zero", "exclude"] | None = None
    perplexity_cap: float | None = Field(None, gt=0)  # completions of this perplexity or more are left out of fluency
    perplexity_terms: Literal["n", "n-1"] | None = None  # number of tokens by which a mean loss is multiplied
    dist_denominator: Literal["unigrams", "ngrams"] | None = None  # what dist-n divides by
    bootstrap: int = Field(2000, ge=100)  # number of resamples
    confidence: float = Field(0.95, gt=0.5, lt=1)  # of the intervals
    interval: Literal["percentile", "bca"] = "percentile"
    correction: Literal["holm", "benjamini-hochberg"] = "holm"  # of p values, over the languages of one metric
    threshold: float = Field(0.5, ge=0, le=1)  # score from which a completion counts as toxic
    macro: Literal["evidence", "all"] = "evidence"  # languages in the mean: those with evidence for the scorer, or all


class ReportConfig(Strict):
    """The size of the report's explorer of completions."""

    prompts: int = Field(20, ge=0)  # per language, in the explorer
    completions: int = Field(2, ge=1)  # per prompt and model
