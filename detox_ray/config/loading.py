"""From YAML and dotted overrides to a valid `Experiment`, or to every problem at once, in the user's words.

OmegaConf merges, pydantic validates; what pydantic says of unions is turned into field, value and rule.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from detox_ray.config import ConfigError, Experiment, Problem
from detox_ray.config.extends import UNREADABLE, Layer, merge, read_layers, sources
from detox_ray.config.variants import as_written

Model = TypeVar("Model", bound=BaseModel)

_OVERRIDE = "an override"  # the source of what stands on the command line


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read CONFIG and what it extends, apply dotted ``key=value`` overrides, validate.

    Raises ConfigError with every problem found.
    """
    with opened(path, overrides) as experiment:
        return experiment


@contextmanager
def opened(path: str | Path, overrides: Sequence[str] = ()) -> Iterator[Experiment]:
    """Load CONFIG; problems that the block raises also name the file that CONFIG has their value from."""
    layers = _layers(path, "CONFIG", overrides)
    with _named_sources(layers):
        yield validate(_whole(layers, path, "CONFIG"))


def read_as(model: type[Model], path: str | Path, name: str) -> Model:
    """Read and validate any other YAML file. ``name``: how messages call the file. Raises ConfigError."""
    layers = _layers(path, name)
    with _named_sources(layers):
        return validated(model, _whole(layers, path, name), name)


def _layers(path: str | Path, name: str, overrides: Sequence[str] = ()) -> list[Layer]:
    """Read the file and all that it extends; the overrides are the last layer."""
    layers = read_layers(path, name)
    _check_form(overrides)
    try:
        dotted = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except UNREADABLE as error:
        raise ConfigError([Problem(name, str(path), _unusable(error))]) from None
    assert isinstance(dotted, dict)
    if "extends" in dotted:
        rule = "stands in a file, not on the command line: write a file that extends others"
        raise ConfigError([Problem("extends", dotted["extends"], rule)])
    return [*layers, Layer(_OVERRIDE, dotted)]


def _whole(layers: Sequence[Layer], path: str | Path, name: str) -> Any:
    """Merge the layers, then resolve interpolations over the whole."""
    *parents, own, overrides = layers
    resolvers = [problem._replace(source=layer.source) for layer in parents for problem in _resolvers(layer.values)]
    resolvers += [problem for layer in (own, overrides) for problem in _resolvers(layer.values)]
    if resolvers:
        raise ConfigError(resolvers)
    try:
        whole = OmegaConf.merge(OmegaConf.create(merge([*parents, own])), OmegaConf.create(overrides.values))
        return OmegaConf.to_container(whole, resolve=True)
    except UNREADABLE as error:
        raise ConfigError([Problem(name, str(path), _unusable(error))]) from None


@contextmanager
def _named_sources(layers: Sequence[Layer]) -> Iterator[None]:
    """Add to the problems that the block raises where their values were written, if not in the given file alone."""
    given = {layer.source for layer in layers[-2:]}  # the file itself, and the overrides
    models = merge(layers).get("models")

    def with_source(problem: Problem) -> Problem:
        written = sources(layers, as_written(problem.field, models))
        if problem.source or given.issuperset(written):
            return problem
        return problem._replace(source=" and ".join(written))

    try:
        yield
    except ConfigError as error:
        error.problems = tuple(map(with_source, error.problems))
        raise


def _unusable(error: Exception) -> str:
    return f"is not a usable YAML mapping: {error}".removesuffix(": ")


def _resolvers(value: Any, field: str = "") -> list[Problem]:
    """Find the strings that call an OmegaConf resolver, as ``${oc.env:NAME}``.

    What it reads (an environment variable) would be written to experiment.yaml and into messages, so only
    interpolations of other keys (``${generate.samples}``) are taken. Those never contain a colon.
    """
    if isinstance(value, dict):
        places = [(f"{field}.{key}" if field else str(key), inner) for key, inner in value.items()]
        return [problem for place, inner in places for problem in _resolvers(inner, place)]
    if isinstance(value, list):
        return [problem for number, inner in enumerate(value) for problem in _resolvers(inner, f"{field}.{number}")]
    if not isinstance(value, str) or not _calls_resolver(value):
        return []
    rule = (
        "only other keys can be interpolated, as ${generate.samples}; the environment is not read into a config "
        "(a scorer's key_env names the variable that holds its key)"
    )
    return [Problem(field, value, rule)]


def _calls_resolver(text: str) -> bool:
    """Whether a colon stands inside ``${…}``."""
    depth = 0
    for place, character in enumerate(text):
        if character == "{" and text[place - 1 : place] == "$":
            depth += 1
        elif depth and character == "}":
            depth -= 1
        elif depth and character == ":":
            return True
    return False


def merged(block: dict[str, Any], overrides: Sequence[str]) -> Any:
    """A plain mapping with dotted ``key=value`` overrides. Raises ConfigError."""
    _check_form(overrides)
    try:
        return OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(block), OmegaConf.from_dotlist(list(overrides))))
    except UNREADABLE as error:
        raise ConfigError([Problem("override", " ".join(overrides), f"does not fit: {error}")]) from None


def _check_form(overrides: Sequence[str]) -> None:
    malformed = [problem for override in overrides if (problem := _malformed(override))]
    if malformed:
        raise ConfigError(malformed)


# A comment behind a value that is not in quotes or brackets: what a shell passes on as one word is meant as one.
_COMMENT = re.compile(r"""^[^"'\[{].*\s#""")


def _malformed(override: str) -> Problem | None:
    if "=" in override[1:]:
        try:
            OmegaConf.from_dotlist([override])
        except UNREADABLE:
            pass
        else:
            if _COMMENT.search(override.partition("=")[2]):
                return Problem("override", override, "' #' begins a comment in YAML: put the value in quotes")
            return None
    return Problem("override", override, "must have the form key.path=value")


def validate(raw: Any) -> Experiment:
    """An Experiment from a plain mapping. Raises ConfigError with every problem found."""
    return validated(Experiment, raw, "CONFIG")


def validated(model: type[Model], raw: Any, name: str) -> Model:
    """The same for any pydantic model. ``name``: what stands for the whole where it is what is wrong."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([p if p.field else p._replace(field=name) for p in _problems(error)]) from None


# What pydantic adds to a location to say which branch of a union it tried, or that a mapping's key is meant.
_BRANCH = re.compile(r"(literal|list|function-\w+)\[.*\]|constrained-\w+|\[key\]")
# The input was not of the kind that the branch takes: where another branch fits better, this one was not meant.
_MISFIT = re.compile(r"literal_error|\w+_type|\w+_parsing")


def _problems(error: ValidationError) -> list[Problem]:
    """In the user's words: one problem per field, of a union's branches only those that the value can have meant."""
    fields: dict[str, list[tuple[bool, Problem]]] = {}  # (is a misfit, problem) by where the union, or field, stands
    for item in error.errors():
        loc = [str(part) for part in item["loc"]]
        branches = [i for i, part in enumerate(loc) if _BRANCH.fullmatch(part)]
        where = ".".join(loc[: branches[0]] if branches else loc)
        misfit = bool(branches) and branches[0] == len(loc) - 1 and bool(_MISFIT.fullmatch(item["type"]))
        path = ".".join(part for i, part in enumerate(loc) if i not in branches)
        fields.setdefault(where, []).extend((misfit, problem) for problem in _of_item(item, path))
    found: list[Problem] = []
    for where, tried in fields.items():
        meant = [problem for misfit, problem in tried if not misfit]
        if not meant:
            rules = " or ".join(problem.rule.removeprefix("must be ") for _, problem in tried)
            meant = [Problem(where, tried[0][1].value, f"must be {rules}")]
        found.extend(meant)
    return found


def _of_item(item: Any, path: str) -> list[Problem]:
    raised = item.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):  # one of our validators: fields are relative to where it stands
        return [p._replace(field=".".join(filter(None, (path, p.field)))) for p in raised.problems]
    rule = re.sub(r"^(Value error|Assertion failed), ", "", item["msg"])
    rule = re.sub(r"^Input should be ", "must be ", rule)
    rule = re.sub(r"a valid dictionary or (instance of \w+|object to extract fields from)", "a mapping", rule)
    if item["type"] == "extra_forbidden":
        rule = "unknown key"
    if item["type"] == "missing":  # its value would be all that stands around it
        return [Problem(path, None, "is required")]
    return [Problem(path, item["input"], rule)]
