"""The ``bias`` block: sets of items with a stereotyped side, and how the models' choices among them are counted.

What a set may hold depends on its ``source``. The class of each source stands with its reader, in a module of
`detox_ray.suites.bias.sets` or in another package (entry points of `detox_ray.suites`), and is looked up when a set is
read.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from detox_ray.config.base import ConfigError, InputError, Name, Problem, Strict
from detox_ray.config.plugins import AnyVariant, Variant, variants


class BiasSetConfig(Variant):
    """A set of items. Each source's class narrows ``source`` to its own name and adds its fields."""

    chosen_by: ClassVar[str] = "source"
    takes_path: ClassVar[bool] = True  # False if the source is built in

    name: Name  # identifies the set in the column `scorer` of its metrics
    source: str
    path: str | None = None  # a file, or a folder with a file for each language
    per_language: int | None = Field(None, ge=1)  # use only the first N items of each language; null: all

    @model_validator(mode="after")
    def _path_if_needed(self) -> "BiasSetConfig":
        if (self.path is not None) != self.takes_path:
            rule = "needs a path" if self.takes_path else "is built in and takes no path"
            raise ConfigError([Problem("path", self.path, f"source {self.source} {rule}")])
        return self


def bias_sources() -> Mapping[str, type[BiasSetConfig]]:
    """Return the class of every source of items, by its name: subclasses of `detox_ray.suites.bias.BiasSet`.

    Raises InputError if another package adds anything else.
    """
    # config imports no other room, so it knows the package of the sources only by name.
    sources = variants("detox_ray.suites", "detox_ray.suites.bias.sets", named_by="kind")
    for name, source in sources.items():
        if not hasattr(source, "read"):
            raise InputError(f"entry point {name!r} of detox_ray.suites must be a subclass of suites.bias.BiasSet")
    return sources


BiasSetDefinition = Annotated[
    SerializeAsAny[BiasSetConfig], AnyVariant("source", bias_sources, "where the items come from")
]


class BiasConfig(Strict):
    """The bias suite: the models' choices between a stereotyped option and another one."""

    sets: list[BiasSetDefinition] = Field(min_length=1)
    # neplenbroek2025: as the scripts of Neplenbroek et al. 2025 count; corrected: ours. null: that of the measure
    # block, or corrected if that one says nothing about bias
    convention: Literal["neplenbroek2025", "corrected"] | None = None
    # Switches of the convention; null: as it says.
    pair_score: Literal["mean", "sum"] | None = None  # of a sentence: log-likelihood per token, or of all tokens
    first_token: Literal["start", "given"] | None = None  # counted after "<|endoftext|>", or given
    ties: Literal["against", "half"] | None = None  # two sides that are equally likely
    types: Literal["nine", "all"] | None = None  # of CrowS-Pairs
    type_rounding: Literal["two-decimals", "none"] | None = None  # of a type's percentage, before the mean over types
    polarity: Literal["ignored", "aware"] | None = None  # of a question: "who was …" or "who was not …"
    templates: Literal["per-model", "common", "all"] | None = None  # understood by the model, by all models, or all
    undetected: Literal["wrong", "left-out"] | None = None  # an answer to a disambiguated question that names no option
    cells: Literal["template-prompt", "template"] | None = None  # what a question's mean is taken over first
    diff_scale: Literal["rows", "accuracy"] | None = None  # what the bias in disambiguated questions is a share of
    # Whether questions that are answered in words are put as a user's message, by the chat template; auto: if all
    # models have the same one
    chat: Literal["auto", "template", "none"] = "auto"
    max_tokens: int = Field(100, ge=1)  # of an answer, always the likeliest token; the engine is generate's
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_tokens: int = Field(8192, ge=512)  # padded tokens of a batch, at most; a CPU takes 1,024

    @model_validator(mode="after")
    def _distinct_names(self) -> "BiasConfig":
        names = [each.name for each in self.sets]
        if len(set(names)) < len(names):
            raise ConfigError([Problem("sets", names, "each name may occur only once")])
        return self
