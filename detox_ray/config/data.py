"""Where the rows come from: prompts, pairs, texts, labelled texts."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from detox_ray.config.base import ConfigError, InputError, LanguageCode, Problem, Strict
from detox_ray.config.plugins import variants

# One for each table that a source can fill.
RowKind = Literal["prompts", "openings", "pairs", "corpus", "originals", "texts", "labelled"]


def sources_of(kind: RowKind) -> dict[str, Any]:
    """Return the sources that read rows of this kind, by name: subclasses of `detox_ray.data.Source`.

    Raises InputError if another package adds something that is no source.
    """
    # This room imports no other: it knows the package of the sources by name only.
    sources = variants("detox_ray.sources", "detox_ray.data.sources")
    for name, source in sources.items():
        if not hasattr(source, "reads"):
            rule = "must be a subclass of detox_ray.data.Source: correct the package that adds it"
            raise InputError(f"entry point {name!r} of detox_ray.sources {rule}")
    return {name: source for name, source in sources.items() if kind in source.reads}


class SourceConfig(Strict):
    """A source of rows of one kind, and the path that it reads unless it is built in."""

    kind: ClassVar[RowKind]

    source: str
    path: str | None = None

    @field_validator("source")
    @classmethod
    def _reads_this_kind(cls, source: str) -> str:
        names = sources_of(cls.kind)
        if source not in names:
            hint = "a source that another package adds needs that package installed here"
            raise ValueError(f"must be one of {', '.join(names)}, the sources of {cls.kind}; {hint}")
        return source

    @model_validator(mode="after")
    def _path_if_needed(self) -> "SourceConfig":
        takes_path = sources_of(self.kind)[self.source].takes_path
        if self.path is not None and not takes_path:
            raise ConfigError([Problem("path", self.path, f"source {self.source} is built in and takes no path")])
        if self.path is None and takes_path:
            raise ConfigError([Problem("path", None, f"source {self.source} needs a path")])
        return self


class PromptsConfig(SourceConfig):
    """Prompts that the models continue.

    Path: folder of RTP_LX_*.json, or a JSONL, Parquet or CSV file with text and language.
    """

    kind = "prompts"

    per_language: int | None = Field(None, ge=1)  # how many of each language, from the first on; null: all


class PairsConfig(SourceConfig):
    """Preference pairs (docs/papers.md, "RTP-LX", "The toxicity-pairwise data" and "BiasDPO, Panda and Jigsaw").

    Path: folder of split_*.jsonl or RTP_LX_*.json; BiasDPO's file or folder; or a JSONL, Parquet or CSV file with
    prompt, chosen, rejected.
    """

    kind = "pairs"

    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # how many, from the first on; null: all


class CorpusConfig(SourceConfig):
    """Text that sft trains on (docs/papers.md, "BiasDPO, Panda and Jigsaw").

    Path: a JSONL, Parquet or CSV file, or a folder of train* and validation* files, whose validation rows are then used
    instead of a part of the others. Panda's rows have `perturbed`, Jigsaw's `comment_text` and `target`, others `text`.
    """

    kind = "corpus"

    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # how many to train on, from the first on, beside those to validate with


class TextsConfig(SourceConfig):
    """Harmless text, whose perplexity under each model shows what detoxification cost. Path: as for prompts."""

    kind = "texts"

    per_language: int | None = Field(None, ge=1)


class DataConfig(Strict):
    """The data of an experiment, but for the labelled text that scorers are checked against (`ValidityConfig`)."""

    prompts: PromptsConfig | None = None  # null: no completions, so neither toxicity nor its costs
    pairs: PairsConfig | None = None
    corpus: CorpusConfig | None = None
    texts: TextsConfig | None = None
    # Which built-in world toy17 means, as a source, a model and a scorer. stereotype: the plain world's model goes on
    # learning from texts that praise scholars and workers for different traits, which takes minutes.
    world: Literal["plain", "stereotype"] = "plain"
    on_error: Literal["stop", "skip"] = "stop"  # a bad row ends the run with its line number, or is skipped and counted


class ValidityConfig(SourceConfig):
    """Human-labelled text that every scorer is checked against, per language.

    Path: folder of RTP_LX_*.json, or a CSV, JSONL or Parquet file with text, language and label (0/1, true/false, …) or
    grade.
    """

    kind = "labelled"

    per_language: int | None = Field(None, ge=1)  # how many of each language, from the first on; null: all
    toxic_from: float = 3.0  # a grade at or above it counts as toxic (RTP-LX grades toxicity 1 to 5)
    minimum: int = Field(20, ge=1)  # a language with fewer toxic or fewer harmless texts has no evidence
