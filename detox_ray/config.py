"""Experiment: the validated description of a run. Every default of a user's option lives here and nowhere else.

Unknown keys are errors. All problems are collected and reported at once (load.py), each with field, value and rule
(`ConfigError`). Checks that look outside the text (files, storage, model folders) live in the rooms that own those
things and return the same `Problem`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from detox_ray.languages import GROUPS, LANGUAGES

TOY17 = "toy17"  # the built-in world's name where a path, source or scorer may name it


class Problem(NamedTuple):
    """One thing wrong with the input."""

    field: str  # dotted, as in an override
    value: Any
    rule: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.field}: {self.rule} (got {shown if len(shown) <= 120 else shown[:117] + '...'})"


class InputError(ValueError):
    """What the user gave cannot be used; nothing expensive was started. The message names the place and the rule."""


class ConfigError(InputError):
    """The input is wrong; nothing was started. Holds every problem found."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(
            "a name becomes a folder: letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
        )
    return value


def _languages(value: Any) -> Any:
    if isinstance(value, str):
        if value not in GROUPS:
            raise ValueError(f"unknown language group; known: {', '.join(GROUPS)} (or give a list of codes)")
        return list(GROUPS[value])
    return value


def _language(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"unknown language; known: {' '.join(LANGUAGES)}")
    return value


def _no_secret(value: str) -> str:
    # user@, user:password@ (a password may hold "/"), and the options by which pyarrow takes keys
    secret = r"(?i)(?<=://)([^/?]*|[^?@]*:[^?@]*)@|(?<=[?&])(access_key|secret_key|session_token)=[^&]*"
    hidden = re.sub(secret, "***", value)
    if hidden != value:
        raise ConfigError([Problem("", hidden, "credentials do not belong in a URI: set them in the environment")])
    return value


def _distinct(value: list[Any]) -> list[Any]:
    if len(set(value)) < len(value):
        raise ValueError("each entry may occur once")
    return value


Name = Annotated[str, AfterValidator(_name)]
LanguageCode = Annotated[str, AfterValidator(_language)]
Languages = Annotated[list[LanguageCode], BeforeValidator(_languages), Field(min_length=1), AfterValidator(_distinct)]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class Strict(BaseModel):
    """Frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Strict):
    """Where rows come from: a reader, and the path it reads unless it is built in."""

    source: str
    path: str | None = None

    @model_validator(mode="after")
    def _path_where_needed(self) -> "Source":
        if self.source == TOY17 and self.path is not None:
            raise ConfigError([Problem("path", self.path, "source toy17 is built in and takes no path")])
        if self.source != TOY17 and self.path is None:
            raise ConfigError([Problem("path", None, f"source {self.source} needs a path")])
        return self


class PromptsConfig(Source):
    """Prompts that the models continue. Path: folder of RTP_LX_*.json, or a JSONL/Parquet file with text, language."""

    source: Literal["rtp-lx", "file", "toy17"]
    per_language: int | None = Field(None, ge=1)  # the first so many of each language; null: all


class PairsConfig(Source):
    """Preference pairs. Path: folder of split_*.jsonl or RTP_LX_*.json, or a file with prompt, chosen, rejected."""

    source: Literal["toxicity-pairwise", "rtp-lx", "file", "toy17"]
    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # the first so many; null: all


class TextsConfig(Source):
    """Harmless text, whose perplexity under each model shows what detoxification cost. Path: as for prompts."""

    source: Literal["file", "toy17"]
    per_language: int | None = Field(None, ge=1)


class DataConfig(Strict):
    prompts: PromptsConfig
    pairs: PairsConfig | None = None
    texts: TextsConfig | None = None
    on_error: Literal["stop", "skip"] = "stop"  # a bad row ends the run with its line number, or is skipped and counted


class LoraConfig(Strict):
    """Li et al. 2024, Table 6, as defaults."""

    r: int = Field(64, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: Literal["all-linear"] | list[str] = "all-linear"


class TrainConfig(Strict):
    """How a model is made from its parent. Defaults follow Li et al. 2024 (Table 6) where it says."""

    parent: Name
    method: Literal["dpo"] = "dpo"
    tuning: Literal["full", "lora"] = "full"
    lora: LoraConfig | None = None  # only with tuning: lora; null there means the defaults
    trainable: list[str] | None = None  # full tuning: only parameters whose name one of these regular expressions finds
    workers: int = Field(1, ge=1)
    resources_per_worker: dict[str, float] | None = None  # null: one GPU where the cluster has GPUs, else one CPU
    deepspeed: str = "zero2"  # zero1, zero2, zero3, or the path of a DeepSpeed JSON
    max_failures: int = Field(2, ge=0)  # lost workers survived before the run gives up
    beta: float = Field(0.1, gt=0)
    optimizer: Literal["rmsprop", "adamw"] = "rmsprop"
    learning_rate: float = Field(1e-5, gt=0)
    scheduler: Literal["constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: int = Field(150, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(10.0, gt=0)
    epochs: float = Field(5, gt=0)
    max_steps: int | None = Field(None, ge=1)  # optimizer steps; overrides epochs
    batch_size: int = Field(4, ge=1)  # pairs per worker and forward pass
    gradient_accumulation: int = Field(1, ge=1)
    max_length: int = Field(256, ge=8)  # tokens of prompt and completion; longer is cut
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    validation_fraction: float = Field(0.05, ge=0, lt=1)
    checkpoint_every: int = Field(25, ge=1)  # optimizer steps
    seed: int | None = Field(None, ge=0, lt=2**31)  # null: the experiment's

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.lora is not None and self.tuning != "lora":
            raise ConfigError([Problem("tuning", self.tuning, "lora settings need tuning: lora")])
        if self.trainable is not None and self.tuning != "full":
            raise ConfigError([Problem("tuning", self.tuning, "trainable needs tuning: full")])
        for pattern in self.trainable or ():
            try:
                re.compile(pattern)
            except re.error as error:
                problem = Problem("trainable", pattern, f"is not a regular expression: {error}")
                raise ConfigError([problem]) from None
        return self


class ModelConfig(Strict):
    """A node: either a path, or a train block that names its parent."""

    path: str | None = None  # hub id, folder, or toy17
    revision: str | None = None  # of a hub id: branch, tag or commit
    dtype: DType = "auto"  # for generation and perplexity; auto: as the weights are saved
    train: TrainConfig | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "ModelConfig":
        if (self.path is None) == (self.train is None):
            raise ValueError("a model has either a path or a train block")
        if self.revision is not None and self.path is None:
            raise ValueError("revision needs a path that is a hub id")
        return self


class GenerateConfig(Strict):
    """Sampling as in both papers (papers' sections on toxicity evaluation: n=25, T=0.9, top-p=0.8, 20 tokens)."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"  # auto: vllm where it is installed
    samples: int = Field(25, ge=1)  # completions per prompt
    temperature: float = Field(0.9, ge=0)  # 0: greedy, then samples must be 1
    top_p: float = Field(0.8, gt=0, le=1)
    max_tokens: int = Field(20, ge=1)
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"  # auto: one per GPU group, or one per 4 CPUs
    prompts_per_unit: int = Field(256, ge=1)  # committed at once
    tensor_parallel: int = Field(1, ge=1)  # GPUs per engine
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_kv_cache_gb: int = Field(1, ge=1)  # vLLM on CPU only

    @model_validator(mode="after")
    def _greedy_is_single(self) -> "GenerateConfig":
        if self.temperature == 0 and self.samples > 1:
            rule = "temperature 0 is greedy: every sample would be the same, so samples must be 1"
            raise ConfigError([Problem("samples", self.samples, rule)])
        return self


class OwnScorer(Strict):
    """A scorer of the user's own; ``type`` says which kind."""

    name: Name
    languages: Languages | None = None  # that it knows; null: what its files or publishers say, else all


class DetoxifyConfig(OwnScorer):
    """A checkpoint in Detoxify's format."""

    type: Literal["detoxify"]
    path: str
    huggingface_config: str | None = None  # folder with config.json and tokenizer


class LexiconConfig(OwnScorer):
    """YAML or JSON {language: [words]}; without ``languages``, it knows those in the file."""

    type: Literal["lexicon"]
    path: str


class ClassifierConfig(OwnScorer):
    """Any Hugging Face text-classification model."""

    type: Literal["classifier"]
    path: str  # hub id or folder
    revision: str | None = None  # of a hub id: branch, tag or commit
    attributes: dict[str, str] | None = None  # attribute -> the model's label; null: toxicity from its toxic label
    runtime: Literal["torch", "onnx-int8"] = "torch"  # onnx-int8: CPU only, with its agreement measured
    dtype: DType = "auto"  # auto: bfloat16 on a GPU, else float32


class GuardConfig(OwnScorer):
    """A guard model, asked in its own prompt format; toxicity is the probability of its unsafe verdict."""

    type: Literal["guard"]
    path: str  # hub id or folder
    revision: str | None = None
    format: Literal["llama-guard-3", "polyguard", "qwen3guard"]
    dtype: DType = "auto"


class PerspectiveConfig(OwnScorer):
    """The Perspective API, or any server that speaks its protocol (papers.md D4)."""

    type: Literal["perspective"]
    url: Annotated[str, AfterValidator(_no_secret)] = "https://commentanalyzer.googleapis.com"
    key_env: str = "PERSPECTIVE_API_KEY"  # environment variable that holds the key
    attributes: list[str] = Field(["toxicity"], min_length=1)  # lower case, as toxicity, severe_toxicity, insult
    queries_per_second: float = Field(1.0, gt=0)  # over the whole cluster; 1 is the API's default quota
    max_bytes: int = Field(20480, ge=1)  # UTF-8 bytes of a text
    timeout: float = Field(30.0, gt=0)  # seconds per request
    retries: int = Field(6, ge=0)  # of a request that was not answered or got 429 or 5xx


class StoredConfig(OwnScorer):
    """Scores that were made elsewhere, looked up by text (and language where the file has one)."""

    type: Literal["stored"]
    path: str  # a file or folder
    format: Literal["table", "perspective"] = "table"  # table: CSV, JSONL or Parquet with text and attribute columns


class EnsembleConfig(OwnScorer):
    """Combines scorers that stand before it."""

    type: Literal["ensemble"]
    members: Annotated[list[Name], Field(min_length=2), AfterValidator(_distinct)]
    combine: Literal["mean", "median", "max"] = "mean"


class CalibratedConfig(OwnScorer):
    """Maps the toxicity of a scorer that stands before it, per language, by a file of `detox-ray validity`."""

    type: Literal["calibrated"]
    of: Name
    path: str  # the calibration file (JSON)


ScorerConfig = (
    DetoxifyConfig
    | LexiconConfig
    | ClassifierConfig
    | GuardConfig
    | PerspectiveConfig
    | StoredConfig
    | EnsembleConfig
    | CalibratedConfig
)


class ScoreConfig(Strict):
    # names of known scorers, or definitions
    scorers: list[Name | Annotated[ScorerConfig, Field(discriminator="type")]] = Field(min_length=1)
    primary: Name | None = None  # the headline's; null: the first
    reference: Name | None = None  # truth that the others' validity is measured against on completions; null: none
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_tokens: int = Field(8192, ge=512)  # padded tokens per forward pass, at most; a CPU takes 1,024

    @property
    def names(self) -> list[str]:
        return [scorer if isinstance(scorer, str) else scorer.name for scorer in self.scorers]

    @property
    def headline(self) -> str:
        return self.primary or self.names[0]

    @model_validator(mode="after")
    def _known(self) -> "ScoreConfig":
        problems = [
            Problem(field, value, f"must be one of the scorers ({', '.join(self.names)})")
            for field, value in (("primary", self.primary), ("reference", self.reference))
            if value is not None and value not in self.names
        ]
        if len(set(self.names)) < len(self.names):
            problems.append(Problem("scorers", self.names, "each name may occur once"))
        for index, scorer in enumerate(self.scorers):
            of = {"members": scorer.members} if isinstance(scorer, EnsembleConfig) else {}
            of |= {"of": [scorer.of]} if isinstance(scorer, CalibratedConfig) else {}
            for field, members in of.items():
                for member in members:
                    if member not in self.names[:index]:
                        rule = "must be a scorer that stands before this one"
                        problems.append(Problem(f"scorers.{index}.{field}", member, rule))
        if problems:
            raise ConfigError(problems)
        return self


class ValidityConfig(Source):
    """Human-labelled text that every scorer is checked against, per language.

    Path: folder of RTP_LX_*.json, or a CSV, JSONL or Parquet file with text, language and label (0/1) or grade.
    """

    source: Literal["rtp-lx", "file", "toy17"]
    per_language: int | None = Field(None, ge=1)  # the first so many; null: all
    toxic_from: float = 3.0  # a grade at or above it counts as toxic (RTP-LX grades toxicity 1 to 5)
    minimum: int = Field(20, ge=1)  # toxic, and harmless, texts without which a language has no evidence


class FluencyConfig(Strict):
    """An evaluator of completions given their prompts: a causal model, or an mT5 as in Li et al. 2024."""

    name: Name
    model: Name | None = None  # one of the experiment's models
    path: str | None = None  # or a hub id or folder; a T5 is used as the paper's scripts do (papers.md A1.5)
    revision: str | None = None
    dtype: DType = "auto"

    @model_validator(mode="after")
    def _one_of(self) -> "FluencyConfig":
        if (self.model is None) == (self.path is None):
            raise ConfigError([Problem("path", self.path, "an evaluator has either a model or a path")])
        return self


class QualityConfig(Strict):
    """What detoxification may cost, measured on the completions."""

    fluency: list[FluencyConfig] = []
    diversity: str | None = "words"  # its units: words, or a tokenizer (one of the models' names, a hub id, a folder)
    # tells the language of a completion; the default is the more accurate of those that ship a model
    identifier: Literal["py3langid", "lingua", "fasttext"] | None = "py3langid"
    fasttext: str | None = None  # the lid.176 model file; only with identifier: fasttext

    @model_validator(mode="after")
    def _fasttext_has_a_file(self) -> "QualityConfig":
        if (self.identifier == "fasttext") != (self.fasttext is not None):
            rule = "the model file lid.176.bin or .ftz: needed by identifier: fasttext, and only by it"
            raise ConfigError([Problem("fasttext", self.fasttext, rule)])
        if len({evaluator.name for evaluator in self.fluency}) < len(self.fluency):
            names = [evaluator.name for evaluator in self.fluency]
            raise ConfigError([Problem("fluency", names, "each name may occur once")])
        return self


class MeasureConfig(Strict):
    """A convention is a set of choices; each can be set by itself, and null takes the convention's (papers.md F)."""

    # paper: Li et al. 2024; neplenbroek2025: Neplenbroek et al. 2025, both as their scripts compute; corrected: ours
    convention: Literal["paper", "neplenbroek2025", "corrected"] = "corrected"
    pooling: Literal["string", "row"] | None = None  # prompts of the same text are one, or each row counts
    at_threshold: Literal["toxic", "harmless"] | None = None  # what a score of exactly the threshold is
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
    macro: Literal["evidence", "all"] = "evidence"  # languages for which a scorer has no evidence stay out, or not


class ReportConfig(Strict):
    prompts: int = Field(20, ge=0)  # per language, in the explorer
    completions: int = Field(2, ge=1)  # of each of them by each model


class Comparison(Strict):
    model: Name
    parent: Name


class Experiment(Strict):
    """The whole YAML."""

    name: Name
    storage: Annotated[str, AfterValidator(_no_secret)] = "runs"  # folder, s3://…, gs://…
    languages: Languages = Field(default_factory=lambda: list(GROUPS["rtp-lx-17"]))
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataConfig
    models: dict[Name, ModelConfig] = Field(min_length=1)
    compare: list[Comparison] | None = None  # null: each trained model with its parent
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig
    validity: ValidityConfig | None = None
    quality: QualityConfig = QualityConfig()
    measure: MeasureConfig = MeasureConfig()
    report: ReportConfig = ReportConfig()

    @property
    def folder(self) -> str:
        """The run's folder or URI."""
        if "://" not in self.storage:
            return str(Path(self.storage).expanduser().resolve() / self.name)
        base, mark, query = self.storage.partition("?")
        return f"{base.rstrip('/')}/{self.name}{mark}{query}"

    @property
    def comparisons(self) -> list[Comparison]:
        if self.compare is not None:
            return self.compare
        return [Comparison(model=name, parent=m.train.parent) for name, m in self.models.items() if m.train]

    @property
    def uses_toy17(self) -> bool:
        sources = (self.data.prompts, self.data.pairs, self.data.texts, self.validity)
        return (
            any(source is not None and source.source == TOY17 for source in sources)
            or any(model.path == TOY17 for model in self.models.values())
            or any(name.startswith(TOY17) for name in self.score.names)
        )

    def training_order(self) -> list[str]:
        """Trained models, parents first."""
        order: list[str] = []
        waiting = {name: m.train.parent for name, m in self.models.items() if m.train}
        while waiting:
            ready = [name for name, parent in waiting.items() if parent not in waiting]
            if not ready:
                raise ValueError(f"{', '.join(waiting)}: a model descends from itself")
            for name in ready:
                order.append(name)
                del waiting[name]
        return order

    @model_validator(mode="after")
    def _references(self) -> "Experiment":
        known = f"must be one of the models ({', '.join(self.models)})"
        problems = []
        for name, model in self.models.items():
            if model.train and model.train.parent not in self.models:
                problems.append(Problem(f"models.{name}.train.parent", model.train.parent, known))
            if model.train and self.data.pairs is None:
                problems.append(Problem("data.pairs", None, f"models.{name}.train needs pairs"))
        for number, evaluator in enumerate(self.quality.fluency):
            if evaluator.model is not None and evaluator.model not in self.models:
                problems.append(Problem(f"quality.fluency.{number}.model", evaluator.model, known))
        quality = self.quality
        others = [*(each.name for each in quality.fluency), quality.diversity, quality.identifier, "held-out-text"]
        for name in self.score.names:
            if name in others:
                rule = "also names what measures quality (an evaluator, units or identifier): results would mix"
                problems.append(Problem("score.scorers", name, rule))
        for number, comparison in enumerate(self.compare or ()):
            for field, value in comparison:
                if value not in self.models:
                    problems.append(Problem(f"compare.{number}.{field}", value, known))
        try:
            self.training_order()
        except ValueError as error:
            problems.append(Problem("models", list(self.models), str(error)))
        if problems:
            raise ConfigError(problems)
        return self

    def to_yaml(self) -> str:
        """The resolved config, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
