"""The scorers: names of known ones, or definitions of the user's own."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from detox_ray.config.base import (
    ConfigError,
    DType,
    Languages,
    Name,
    Problem,
    Strict,
    distinct,
    no_secret,
    variable_name,
)


class OwnScorer(Strict):
    """A scorer of the user's own; ``type`` says which kind.

    Every field is part of the scorer's identity, on which its units' keys and its cached values depend, unless
    ``no_influence`` names it: fields that cannot change a value, and fields whose meaning is in the identity already.
    """

    no_influence: ClassVar[frozenset[str]] = frozenset({"name", "languages"})  # languages: in the units' keys

    name: Name
    languages: Languages | None = None  # that it knows; null: what its files or publishers say, else all


class DetoxifyConfig(OwnScorer):
    """A checkpoint in Detoxify's format."""

    no_influence = OwnScorer.no_influence | {"path", "huggingface_config"}  # hashed: what the files hold
    type: Literal["detoxify"]
    path: str
    huggingface_config: str | None = None  # folder with config.json and tokenizer


class LexiconConfig(OwnScorer):
    """YAML or JSON {language: [words]}; without ``languages``, it knows those in the file."""

    no_influence = OwnScorer.no_influence | {"path"}  # hashed: what the file holds
    type: Literal["lexicon"]
    path: str


class OutputConfig(Strict):
    """The source of an attribute: the sum of some labels' probabilities, or one minus it if they are harmless.

    A user may write a label, or a list of labels, for ``labels``.
    """

    labels: list[str] = Field(default_factory=list)
    harmless: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: [inner] if isinstance(inner, str) else inner for name, inner in value.items()}
        if isinstance(value, str | list):
            return {"labels": [value] if isinstance(value, str) else value}
        return value

    @model_validator(mode="after")
    def _either(self) -> "OutputConfig":
        if bool(self.labels) == bool(self.harmless):
            raise ValueError("must be a label, a list of labels, or {harmless: LABEL} where a high value is harmless")
        distinct(self.labels + self.harmless)
        return self


class ClassifierConfig(OwnScorer):
    """Any Hugging Face text-classification model."""

    no_influence = OwnScorer.no_influence | {"path", "revision"}  # hashed: what the files hold, or the hub's commit
    type: Literal["classifier"]
    path: str  # hub id or folder
    revision: str | None = None  # of a hub id: branch, tag or commit
    attributes: dict[str, OutputConfig] | None = None  # of the model's labels; null: by their names
    runtime: Literal["torch", "onnx-int8"] = "torch"  # onnx-int8: CPU only, with its agreement measured
    dtype: DType = "auto"  # auto: bfloat16 on a GPU, else float32


class GuardConfig(OwnScorer):
    """A guard model, asked in its own prompt format; toxicity is the probability of its unsafe verdict."""

    no_influence = OwnScorer.no_influence | {"path", "revision"}  # hashed: what the files hold, or the hub's commit
    type: Literal["guard"]
    path: str  # hub id or folder
    revision: str | None = None
    format: Literal["llama-guard-3", "polyguard", "qwen3guard"]
    dtype: DType = "auto"


class PerspectiveConfig(OwnScorer):
    """The Perspective API, or any server that speaks its protocol (docs/papers.md, "The Perspective API")."""

    # url: the server's address is the revision. The others decide how fast, and how often, it is asked.
    no_influence = OwnScorer.no_influence | {"url", "key_env", "queries_per_second", "timeout", "retries"}
    type: Literal["perspective"]
    url: Annotated[str, AfterValidator(no_secret)] = "https://commentanalyzer.googleapis.com"
    # environment variable that holds the key
    key_env: Annotated[str, AfterValidator(variable_name)] = "PERSPECTIVE_API_KEY"
    attributes: list[str] = Field(["toxicity"], min_length=1)  # lower case, as toxicity, severe_toxicity, insult
    queries_per_second: float = Field(1.0, gt=0)  # over the whole cluster; 1 is the API's default quota
    max_bytes: int = Field(20480, ge=1)  # UTF-8 bytes of a text
    timeout: float = Field(30.0, gt=0)  # seconds per request
    retries: int = Field(6, ge=0)  # of a request that was not answered or got 429 or 5xx


class StoredConfig(OwnScorer):
    """Scores that were made elsewhere, looked up by text (and language where the file has one)."""

    no_influence = OwnScorer.no_influence | {"path"}  # hashed: what the files hold
    type: Literal["stored"]
    path: str  # a file or folder
    format: Literal["table", "perspective"] = "table"  # table: CSV, JSONL or Parquet with text and attribute columns


class EnsembleConfig(OwnScorer):
    """Combines scorers that stand before it."""

    no_influence = OwnScorer.no_influence | {"members"}  # hashed: the members' identities
    type: Literal["ensemble"]
    members: Annotated[list[Name], Field(min_length=2), AfterValidator(distinct)]
    combine: Literal["mean", "median", "max"] = "mean"


class CalibratedConfig(OwnScorer):
    """Maps the toxicity of a scorer that stands before it, per language, by a file of `detox-ray validity`."""

    no_influence = OwnScorer.no_influence | {"of", "path"}  # hashed: the member's identity and what the file holds
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
