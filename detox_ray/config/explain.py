"""The explain block: which models to look into, and how."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, LanguageCode, Name, Problem, Strict


class ProbeConfig(Strict):
    """The linear probe whose direction is called toxic. Its method and its texts decide which neurons are found."""

    # auto: labelled text in `language` if there are at least 500 of each kind, else the preference pairs
    source: Literal["auto", "labelled", "pairs", "stored"] = "auto"
    path: str | None = None  # of a stored probe: safetensors with "weight", or the published .pt (never unpickled)
    language: LanguageCode = "en"  # of the texts that it is trained on
    method: Literal["logistic", "reference", "mean-difference"] | None = None  # null: the convention's
    # final: the probe reads the states after the final norm; a number: those that enter this block; all: the final
    # ones, and those that enter each block get a probe of their own, for which texts x layers x width numbers are in
    # the host's memory (10 GB for 20,000 texts of an 8B model)
    layer: Literal["final", "all"] | Annotated[int, Field(ge=0)] = "final"
    texts: int = Field(20_000, ge=20)  # at most, harmless and toxic together
    validation: float = Field(0.1, gt=0, lt=1)  # share of the texts held out
    seed: int = Field(99, ge=0)
    learning_rate: float = Field(1e-4, gt=0)  # of the reference method, as are the next two
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _stored_has_a_path(self) -> "ProbeConfig":
        if (self.source == "stored") != (self.path is not None):
            raise ConfigError([Problem("path", self.path, "source: stored needs it, and no other source takes it")])
        return self


class OffsetsConfig(Strict):
    """Constants that are added to the sources' activations while the parent generates."""

    doses: list[float] = Field([-5.0, -2.0, -1.0], min_length=1)
    units: Literal["raw", "sd"] = "raw"  # sd: of each neuron's activation on the parent's English continuations


class TransplantsConfig(Strict):
    """Neurons of one model put into the other, those first whose value vectors changed most where they are active."""

    sizes: list[Annotated[int, Field(ge=1)]] = Field([10, 25, 100], min_length=1)
    directions: list[Literal["into-parent", "into-model"]] = Field(["into-parent"], min_length=1)


class ParallelConfig(Strict):
    """Sentences that say the same in every language."""

    source: Literal["toy17", "file"]
    path: str | None = None  # of a file: CSV or TSV with a column for each language, or a folder of their text files
    sentences: int = Field(200, ge=5)  # at most

    @model_validator(mode="after")
    def _file_has_a_path(self) -> "ParallelConfig":
        if (self.source == "file") != (self.path is not None):
            raise ConfigError([Problem("path", self.path, "source: file needs it, and toy17 takes none")])
        return self


class ExplainConfig(Strict):
    """Why tuning works: mechanism and transfer."""

    models: list[Name] | None = None  # tuned models; null: every one that is compared with its parent
    convention: Literal["corrected", "paper", "lee2024", "yang2025"] = "corrected"
    # Switches of the convention; null: as it says.
    steps_after_end: Literal["count", "skip"] | None = None
    pooling_prefix: Literal["count", "skip"] | None = None
    choose: Literal["positive", "positive-ci", "all"] | None = None
    rank_per_layer: Annotated[int, Field(ge=1)] | None = None
    overlap: Literal["dice", "half"] | None = None
    shift_positions: Literal["last", "all"] | None = None

    probe: ProbeConfig = ProbeConfig()
    value_vectors: int = Field(100, ge=1)  # candidates: the value vectors nearest to the probe
    sources: str | None = None  # JSON file of [layer, neuron] pairs to take instead of choosing among candidates
    lens_tokens: int = Field(30, ge=1)  # tokens shown of each value vector
    lexicon: str | None = None  # JSON file {language: [insults]}, to say which tokens are insults; toy17 has its own
    prompts: int = Field(200, ge=2)  # per language, on whose continuations neurons are read
    new_tokens: int = Field(20, ge=1)
    random: int = Field(5, ge=1)  # matched draws beside every effect of chosen neurons
    offsets: OffsetsConfig | None = OffsetsConfig()
    transplants: TransplantsConfig | None = TransplantsConfig()
    edited_prompts: int = Field(40, ge=2)  # per language, that each edited model continues
    edited_texts: int = Field(20, ge=0)  # per language, harmless texts for the perplexity of each edited model
    edited_samples: int = Field(1, ge=1)  # 1: greedy; more: sampled as the generate block says
    engine: Literal["auto", "vllm", "transformers"] | None = None  # of edited models; null: the generate block's
    scorer: str | None = None  # of edited models' completions and of the transfer's target; null: score.primary
    parallel: ParallelConfig | None = None  # null: no predictors of transfer
    # of the pretraining data: a CSV of language,share, or a published table, aya-collection or common-crawl-2024-30;
    # toy17 has its own
    shares: str | None = None
    # distances of each language from English: lang2vec (the package, an extra), or a CSV with language and distances
    distances: str | None = None
    batch_tokens: int = Field(8192, ge=1)  # padded tokens of a batch
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    gpus_per_model: int = Field(1, ge=1)  # above 1 the layers are spread over them

    @model_validator(mode="after")
    def _sources_need_no_switch(self) -> "ExplainConfig":
        if self.sources is not None and self.choose is not None:
            raise ConfigError([Problem("choose", self.choose, "has no effect beside explain.sources: leave one out")])
        return self
