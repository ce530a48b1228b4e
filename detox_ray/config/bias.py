"""The ``bias`` block: sets of items with a stereotyped side, and how the models' choices among them are counted.

What a set may hold depends on its ``source``. The class of each source stands with its reader, in a module of
`detox_ray.suites.bias.sets` or in another package (entry points of `detox_ray.suites`), and is looked up when a set is
read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from detox_ray.config.base import ConfigError, InputError, Name, Problem, Strict
from detox_ray.config.plugins import variants


class BiasSetConfig(Strict):
    """A set of items. Each source's class narrows ``source`` to its own name and adds its fields."""

    kind: ClassVar[str]  # the value of `source`
    takes_path: ClassVar[bool] = True  # False if the source is built in

    name: Name  # identifies the set in the column `scorer` of its metrics
    source: str
    path: str | None = None  # a file, or a folder with a file for each language
    per_language: int | None = Field(None, ge=1)  # use only the first N items of each language; null: all

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if literal := get_args(cls.model_fields["source"].annotation):
            (cls.kind,) = literal

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


def _of_its_source(value: Any, as_base: ValidatorFunctionWrapHandler) -> BiasSetConfig:
    """Validate a mapping as an instance of the class that its ``source`` names."""
    if not isinstance(value, Mapping):
        given: BiasSetConfig = as_base(value)  # already a set; anything else raises pydantic's error
        return given
    source = value.get("source")
    try:
        sources = bias_sources()
    except InputError as error:
        raise ConfigError([Problem("source", source, str(error))]) from None
    if source not in list(sources):
        hint = "to use a source from another package, install that package here"
        raise ConfigError([Problem("source", source, f"must be one of {', '.join(sources)}; {hint}")])
    return sources[source].model_validate(value)


class _AnySource:
    """The JSON Schema of a set: that of any registered source."""

    @staticmethod
    def __get_pydantic_json_schema__(schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(source.__pydantic_core_schema__) for source in bias_sources().values()]}


BiasSetDefinition = Annotated[SerializeAsAny[BiasSetConfig], WrapValidator(_of_its_source), _AnySource]


class BiasConfig(Strict):
    """Which stereotypes the models share: their choices between a stereotyped side and another one."""

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
    cells: Literal["template-prompt", "template"] | None = None  # what a question's mean is taken over first
    diff_scale: Literal["rows", "accuracy"] | None = None  # what the bias in disambiguated questions is a share of
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_tokens: int = Field(8192, ge=512)  # padded tokens of a batch, at most; a CPU takes 1,024

    @model_validator(mode="after")
    def _distinct_names(self) -> "BiasConfig":
        names = [each.name for each in self.sets]
        if len(set(names)) < len(names):
            raise ConfigError([Problem("sets", names, "each name may occur only once")])
        return self
