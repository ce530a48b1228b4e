"""The block `ability`: how well a model still speaks each language when it continues harmless text."""

from pydantic import Field

from detox_ray.config.base import Name, Strict
from detox_ray.config.data import SourceConfig


class OpeningsConfig(SourceConfig):
    """Harmless text that the models continue.

    Path: a folder of Tatoeba's sentence pairs (docs/papers.md, "Language consistency of Neplenbroek et al."), or a
    JSONL, Parquet or CSV file with text and language.
    """

    kind = "openings"

    per_language: int | None = Field(None, ge=1)  # how many of each language, from the first on; null: all


class AbilityConfig(Strict):
    """Greedy completions of harmless text, judged as `quality` says: their language, fluency and novelty."""

    prompts: OpeningsConfig
    max_tokens: int = Field(100, ge=1)  # one completion each, always the likeliest token; the engine is generate's
    fluency: list[Name] | None = None  # names of quality.fluency; null: all of them
