"""Read YAML and dotted overrides into a valid `Experiment`, or report all problems at once.

OmegaConf merges, and pydantic validates. pydantic's errors name the branches of unions; this module turns them into
problems with field, value and rule.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from detox_ray.config import ConfigError, Experiment, Problem
from detox_ray.config.base import closest
from detox_ray.config.extends import UNREADABLE, Layer, merge, read_layers, sources, why_unusable
from detox_ray.config.variants import as_written

Model = TypeVar("Model", bound=BaseModel)

_OVERRIDE = "an override"  # the source of values from the command line


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read CONFIG and the files that it extends, apply dotted ``key=value`` overrides, and validate.

    Raises ConfigError with all problems.
    """
    with opened(path, overrides) as experiment:
        return experiment


@contextmanager
def opened(path: str | Path, overrides: Sequence[str] = ()) -> Iterator[Experiment]:
    """Load CONFIG for a block of code. Problems that the block raises also name the file that holds their value."""
    layers = _layers(path, "CONFIG", overrides)
    with _named_sources(layers):
        yield validate(_whole(layers, path, "CONFIG"))


def read_as(model: type[Model], path: str | Path, name: str) -> Model:
    """Read and validate any other YAML file, which messages call ``name``. Raises ConfigError with all problems."""
    layers = _layers(path, name)
    with _named_sources(layers):
        return validated(model, _whole(layers, path, name), name)


def _layers(path: str | Path, name: str, overrides: Sequence[str] = ()) -> list[Layer]:
    """Read the file and all files that it extends. The last layer holds the overrides."""
    layers = read_layers(path, name)
    _check_form(overrides)
    try:
        dotted = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except UNREADABLE as error:
        raise ConfigError([Problem(name, str(path), why_unusable(error))]) from None
    assert isinstance(dotted, dict)
    if "extends" in dotted:
        rule = "belongs in a file, not on the command line: write a file that extends others"
        raise ConfigError([Problem("extends", dotted["extends"], rule)])
    return [*layers, Layer(_OVERRIDE, dotted)]


def _whole(layers: Sequence[Layer], path: str | Path, name: str) -> Any:
    """Merge the layers, then resolve interpolations over all of them."""
    *parents, given, overrides = layers
    resolvers = [problem._replace(source=layer.source) for layer in parents for problem in _resolvers(layer.values)]
    resolvers += [problem for layer in (given, overrides) for problem in _resolvers(layer.values)]
    if resolvers:
        raise ConfigError(resolvers)
    try:
        whole = OmegaConf.merge(OmegaConf.create(merge([*parents, given])), OmegaConf.create(overrides.values))
        return OmegaConf.to_container(whole, resolve=True)
    except UNREADABLE as error:
        raise ConfigError([Problem(name, str(path), why_unusable(error))]) from None


@contextmanager
def _named_sources(layers: Sequence[Layer]) -> Iterator[None]:
    """Add to each problem that the block raises the files that hold its value, unless only the given file does."""
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


def _resolvers(value: Any, field: str = "") -> list[Problem]:
    """Return a problem for each string that calls an OmegaConf resolver, such as ``${oc.env:NAME}``.

    The value of a resolver, such as an environment variable, would appear in experiment.yaml and in messages. Only
    other keys may be interpolated (``${generate.samples}``). Their names never contain a colon.
    """
    if isinstance(value, dict):
        places = [(f"{field}.{key}" if field else str(key), inner) for key, inner in value.items()]
        return [problem for place, inner in places for problem in _resolvers(inner, place)]
    if isinstance(value, list):
        return [problem for number, inner in enumerate(value) for problem in _resolvers(inner, f"{field}.{number}")]
    if not isinstance(value, str) or not _calls_resolver(value):
        return []
    rule = (
        "only other keys can be interpolated, as in ${generate.samples}; environment variables are never read into a "
        "config (to pass a key to a scorer, name its variable in key_env)"
    )
    return [Problem(field, value, rule)]


def _calls_resolver(text: str) -> bool:
    """Return whether ``${…}`` contains a colon."""
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
    """Merge dotted ``key=value`` overrides into a plain mapping. Raises ConfigError."""
    _check_form(overrides)
    try:
        return OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(block), OmegaConf.from_dotlist(list(overrides))))
    except UNREADABLE as error:
        raise ConfigError([Problem("override", " ".join(overrides), f"cannot be merged: {error}")]) from None


def _check_form(overrides: Sequence[str]) -> None:
    malformed = [problem for override in overrides if (problem := _malformed(override))]
    if malformed:
        raise ConfigError(malformed)


# " #" in a value without quotes or brackets. YAML would drop the rest as a comment, but the user meant it as text.
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
    """Validate an experiment given as a plain mapping. Raises ConfigError with all problems."""
    return validated(Experiment, raw, "CONFIG")


def validated(model: type[Model], raw: Any, name: str) -> Model:
    """Validate any pydantic model. Problems that belong to no field get ``name`` as theirs. Raises ConfigError."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([p if p.field else p._replace(field=name) for p in _problems(model, error)]) from None


# Parts of a location by which pydantic names a branch of a union that it tried, or the key of a mapping.
_BRANCH = re.compile(r"(literal|list|function-\w+)\[.*\]|constrained-\w+|\[key\]")
# Errors that mean the branch takes another type. If another branch fits better, the user did not mean this one.
_MISFIT = re.compile(r"literal_error|\w+_type|\w+_parsing")


def _problems(model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Turn pydantic's errors into one problem per field. Branches of a union that the value cannot mean are dropped."""
    # Collect (is a misfit, problem) by the path of the union or field.
    fields: dict[str, list[tuple[bool, Problem]]] = {}
    for item in error.errors():
        loc = [str(part) for part in item["loc"]]
        branches = [i for i, part in enumerate(loc) if _BRANCH.fullmatch(part)]
        where = ".".join(loc[: branches[0]] if branches else loc)
        misfit = bool(branches) and branches[0] == len(loc) - 1 and bool(_MISFIT.fullmatch(item["type"]))
        path = ".".join(part for i, part in enumerate(loc) if i not in branches)
        fields.setdefault(where, []).extend((misfit, problem) for problem in _of_item(model, item, path))
    # Keep the problems of branches that fit. If no branch fits, join the rules of all.
    problems: list[Problem] = []
    for where, tried in fields.items():
        meant = [problem for misfit, problem in tried if not misfit]
        if not meant:
            rules = " or ".join(problem.rule.removeprefix("must be ") for _, problem in tried)
            meant = [Problem(where, tried[0][1].value, f"must be {rules}")]
        problems.extend(meant)
    return problems


def _keys_at(model: type[BaseModel], place: Sequence[Any]) -> set[str]:
    """Return the keys that a block of the model takes. ``place`` may hold names of mappings' keys and of branches."""
    models = {model}
    for part in place:
        fields = [inner.model_fields[part] for inner in models if part in inner.model_fields]
        if fields:
            models = {inner for field in fields for inner in _models_in(field.annotation)}
    return {name for inner in models for name in inner.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _of_item(model: type[BaseModel], item: Any, path: str) -> list[Problem]:
    raised = item.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):  # one of our validators, whose fields are relative to its own
        return [p._replace(field=".".join(filter(None, (path, p.field)))) for p in raised.problems]
    rule = re.sub(r"^(Value error|Assertion failed), ", "", item["msg"])
    rule = re.sub(r"^Input should be ", "must be ", rule)
    rule = re.sub(r"a valid (integer|number|string)(, unable to parse .*)?$", r"a \1", rule).replace(
        "a integer", "an integer"
    )
    rule = re.sub(r"a valid dictionary( or (instance of \w+|object to extract fields from))?", "a mapping", rule)
    if item["type"] == "extra_forbidden":
        rule = f"unknown key{closest(item['loc'][-1], _keys_at(model, item['loc'][:-1]))}"
    if item["type"] == "missing":  # pydantic gives the whole surrounding mapping as its value
        return [Problem(path, None, "is required")]
    return [Problem(path, item["input"], rule)]
