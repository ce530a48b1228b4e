"""The sources of data: prompts, pairs, texts, labelled texts."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from detox_ray.config.base import ConfigError, InputError, LanguageCode, Problem, Strict
from detox_ray.config.plugins import variants

# One kind for each table that a source can fill.
RowKind = Literal["prompts", "openings", "pairs", "corpus", "originals", "texts", "labelled"]


def sources_of(kind: RowKind) -> dict[str, Any]:
    """Return the sources that read rows of this kind, by name: subclasses of `detox_ray.data.Source`.

    Raises InputError if another package adds anything else.
    """
    # config imports no other room, so it knows the package of the sources only by name.
    sources = variants("detox_ray.sources", "detox_ray.data.sources")
    for name, source in sources.items():
        if not hasattr(source, "reads"):
            rule = "must be a subclass of detox_ray.data.Source: correct the package that adds it"
            raise InputError(f"entry point {name!r} of detox_ray.sources {rule}")
    return {name: source for name, source in sources.items() if kind in source.reads}


class SourceConfig(Strict):
    """A source of rows of one kind, and the path that it reads. A built-in source has no path."""

    kind: ClassVar[RowKind]

    source: str
    path: str | None = None

    @field_validator("source")
    @classmethod
    def _reads_this_kind(cls, source: str) -> str:
        names = sources_of(cls.kind)
        if source not in names:
            hint = "to use a source from another package, install that package here"
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

    Path: a folder of RTP_LX_*.json, or a JSONL, Parquet or CSV file with text and language.
    """

    kind = "prompts"

    per_language: int | None = Field(None, ge=1)  # use only the first N of each language; null: all


class PairsConfig(SourceConfig):
    """Preference pairs (docs/papers.md, "RTP-LX", "The toxicity-pairwise data" and "BiasDPO, Panda and Jigsaw").

    Path: a folder of split_*.jsonl or RTP_LX_*.json; BiasDPO's file or folder; or a JSONL, Parquet or CSV file with
    prompt, chosen and rejected.
    """

    kind = "pairs"

    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # use only the first N; null: all


class CorpusConfig(SourceConfig):
    """Text that sft trains on (docs/papers.md, "BiasDPO, Panda and Jigsaw").

    Path: a JSONL, Parquet or CSV file, or a folder of train* and validation* files. A folder's validation rows replace
    the part that is otherwise split off. Panda's rows have `perturbed`, Jigsaw's `comment_text` and `target`, others
    `text`.
    """

    kind = "corpus"

    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # train on the first N only; the source's validation rows do not count


class TextsConfig(SourceConfig):
    """Harmless text. Its perplexity under each model shows what detoxification costs. Path: as for prompts."""

    kind = "texts"

    per_language: int | None = Field(None, ge=1)  # use only the first N of each language; null: all


class DataConfig(Strict):
    """The data of an experiment, except the labelled text that scorers are checked against (`ValidityConfig`)."""

    prompts: PromptsConfig | None = None  # null: no completions, so neither toxicity nor its costs are measured
    pairs: PairsConfig | None = None
    corpus: CorpusConfig | None = None
    texts: TextsConfig | None = None
    # The built-in world that toy17 stands for, as a source, a model and a scorer. stereotype: the plain world's model
    # is trained further, for minutes, on texts that praise scholars and workers for different traits.
    world: Literal["plain", "stereotype"] = "plain"
    # A bad row either stops the run with a message that names its line, or is skipped and counted.
    on_error: Literal["stop", "skip"] = "stop"


class ValidityConfig(SourceConfig):
    """Human-labelled text that every scorer is checked against, per language.

    Path: a folder of RTP_LX_*.json, or a CSV, JSONL or Parquet file with text, language and a label (0/1, true/false,
    …) or a grade.
    """

    kind = "labelled"

    per_language: int | None = Field(None, ge=1)  # use only the first N of each language; null: all
    toxic_from: float = 3.0  # a text with this grade or a higher one counts as toxic (RTP-LX grades from 1 to 5)
    minimum: int = Field(20, ge=1)  # a language with fewer toxic texts, or fewer harmless ones, has no evidence
