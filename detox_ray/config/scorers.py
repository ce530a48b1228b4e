"""The scorers of an experiment: names of ready ones, or definitions of the user's own.

What a definition may hold depends on its ``type``. The class of each type stands with its code, in a module of
`detox_ray.score.variants` or in another package (docs/extending.md), and is looked up when a definition is read.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from detox_ray.config.base import TOY17, ConfigError, InputError, Languages, Name, Problem, Strict
from detox_ray.config.plugins import AnyVariant, Variant, variants


class ScorerConfig(Variant):
    """A definition of a scorer. The class of each type narrows ``type`` to its name and adds its own fields.

    The scorer's identity, on which the keys of its units and its cached values depend, holds every field that
    ``no_influence`` does not name. It names fields that cannot change a value and fields that the identity covers
    in another way.
    """

    chosen_by: ClassVar[str] = "type"
    no_influence: ClassVar[frozenset[str]] = frozenset({"name", "languages"})  # the units' keys hold the language
    member_fields: ClassVar[tuple[str, ...]] = ()  # fields that name the scorers from which this one is made

    name: Name
    languages: Languages | None = None  # languages that it knows; null: those that its files or publisher state, or all
    type: str

    @classmethod
    def ready(cls) -> Sequence[Any]:
        """Return the ready scorers of this type (`detox_ray.score.ReadyScorer`)."""
        return ()

    @property
    def made_from(self) -> dict[str, list[str]]:
        """Return the names of the scorers that this one is made from, by the field that holds them."""
        given = {field: getattr(self, field) for field in self.member_fields}
        return {field: [value] if isinstance(value, str) else list(value) for field, value in given.items()}


def scorer_types() -> Mapping[str, type[ScorerConfig]]:
    """Return the class of every type of scorer, by its name: subclasses of `detox_ray.score.ScorerVariant`.

    Raises InputError if another package adds anything else.
    """
    # config imports no other room, so it knows the package of the types only by name.
    types = variants("detox_ray.scorers", "detox_ray.score.variants", named_by="kind")
    for name, scorer_type in types.items():
        if not hasattr(scorer_type, "check_settings"):
            rule = "must be a subclass of detox_ray.score.ScorerVariant"
            raise InputError(f"entry point {name!r} of detox_ray.scorers {rule}")
    return types


Definition = Annotated[SerializeAsAny[ScorerConfig], AnyVariant("type", scorer_types, "which kind of scorer this is")]


class ScoreConfig(Strict):
    """The ``score`` block: the scorers of toxicity."""

    scorers: list[Name | Definition] = Field([])  # names of ready scorers, or definitions; required with data.prompts
    primary: Name | None = None  # the scorer of the report's headline; null: the first
    reference: Name | None = None  # a scorer taken as the truth, to measure the others' validity on completions
    actors: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    batch_tokens: int = Field(8192, ge=512)  # most padded tokens per forward pass; on a CPU at most 1,024 are used

    @property
    def names(self) -> list[str]:
        """Return the scorers' names, in order."""
        return [scorer if isinstance(scorer, str) else scorer.name for scorer in self.scorers]

    @property
    def uses_toy17(self) -> bool:
        """Return whether a ready scorer of toy17 is among the scorers."""
        ready = {scorer.name: scorer.config for kind in scorer_types().values() for scorer in kind.ready()}
        chosen = [ready[entry] for entry in self.scorers if isinstance(entry, str) and entry in ready]
        return any(getattr(definition, "path", None) == TOY17 for definition in chosen)

    @property
    def headline(self) -> str:
        """Return the name of the primary scorer; empty if there are no scorers."""
        return self.primary or next(iter(self.names), "")

    @model_validator(mode="after")
    def _known(self) -> "ScoreConfig":
        problems = [
            Problem(field, value, f"must be one of the scorers ({', '.join(self.names)})")
            for field, value in (("primary", self.primary), ("reference", self.reference))
            if value is not None and value not in self.names
        ]
        if len(set(self.names)) < len(self.names):
            problems.append(Problem("scorers", self.names, "each name may occur only once"))
        for index, scorer in enumerate(self.scorers):
            members = {} if isinstance(scorer, str) else scorer.made_from
            for field, names in members.items():
                for name in names:
                    if name not in self.names[:index]:
                        rule = "must be a scorer that is listed before this one"
                        problems.append(Problem(f"scorers.{index}.{field}", name, rule))
        if problems:
            raise ConfigError(problems)
        return self
