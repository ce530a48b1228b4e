"""Where the rows come from: prompts, pairs, texts, labelled texts."""

from typing import Literal

from pydantic import Field, model_validator

from detox_ray.config.base import TOY17, ConfigError, LanguageCode, Problem, Strict


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
    """Preference pairs (docs/papers.md, "RTP-LX", "The toxicity-pairwise data" and "BiasDPO, Panda and Jigsaw").

    Path: folder of split_*.jsonl or RTP_LX_*.json; BiasDPO's file or folder; or a JSONL, Parquet or CSV file with
    prompt, chosen, rejected.
    """

    source: Literal["toxicity-pairwise", "rtp-lx", "biasdpo", "file", "toy17"]
    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # the first so many; null: all


class CorpusConfig(Source):
    """Text that sft trains on (docs/papers.md, "BiasDPO, Panda and Jigsaw").

    Path: a JSONL, Parquet or CSV file, or a folder of train* and validation* files, whose validation rows are then used
    instead of a part of the others. Panda's rows have `perturbed`, Jigsaw's `comment_text` and `target`, others `text`.
    """

    source: Literal["panda", "jigsaw-unintended-bias", "file", "toy17"]
    language: LanguageCode = "en"
    limit: int | None = Field(None, ge=1)  # the first so many rows to train on, without the validation rows; null: all


class TextsConfig(Source):
    """Harmless text, whose perplexity under each model shows what detoxification cost. Path: as for prompts."""

    source: Literal["file", "toy17"]
    per_language: int | None = Field(None, ge=1)


class DataConfig(Strict):
    prompts: PromptsConfig
    pairs: PairsConfig | None = None
    corpus: CorpusConfig | None = None
    texts: TextsConfig | None = None
    on_error: Literal["stop", "skip"] = "stop"  # a bad row ends the run with its line number, or is skipped and counted


class ValidityConfig(Source):
    """Human-labelled text that every scorer is checked against, per language.

    Path: folder of RTP_LX_*.json, or a CSV, JSONL or Parquet file with text, language and label (0/1, true/false, …) or
    grade.
    """

    source: Literal["rtp-lx", "file", "toy17"]
    per_language: int | None = Field(None, ge=1)  # the first so many; null: all
    toxic_from: float = 3.0  # a grade at or above it counts as toxic (RTP-LX grades toxicity 1 to 5)
    minimum: int = Field(20, ge=1)  # toxic, and harmless, texts without which a language has no evidence
