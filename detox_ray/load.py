"""From YAML and dotted overrides to a valid `Experiment`, or to every problem at once, in the user's words.

OmegaConf merges, pydantic validates; what pydantic says of unions is turned into field, value and rule.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from detox_ray.config import ConfigError, Experiment, Problem

Model = TypeVar("Model", bound=BaseModel)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read CONFIG, apply dotted ``key=value`` overrides, validate.

    Raises ConfigError with every problem found.
    """
    return validate(read(path, "CONFIG", overrides))


def read(path: str | Path, name: str, overrides: Sequence[str] = ()) -> Any:
    """What a YAML file holds, with overrides. ``name``: how messages call the file. Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(name, str(path), f"cannot be read: {reason}")]) from None
    _check_form(overrides)
    try:
        # OmegaConf's YAML reads 1e-5 as a number and refuses keys that occur twice.
        whole = OmegaConf.merge(OmegaConf.create(text), OmegaConf.from_dotlist(list(overrides)))
        if resolvers := _resolvers(OmegaConf.to_container(whole)):
            raise ConfigError(resolvers)
        return OmegaConf.to_container(whole, resolve=True)
    except ConfigError:
        raise
    except _UNREADABLE as error:
        rule = f"is not a usable YAML mapping: {error}".removesuffix(": ")
        raise ConfigError([Problem(name, str(path), rule)]) from None


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
    except _UNREADABLE as error:
        raise ConfigError([Problem("override", " ".join(overrides), f"does not fit: {error}")]) from None


def _check_form(overrides: Sequence[str]) -> None:
    malformed = [problem for override in overrides if (problem := _malformed(override))]
    if malformed:
        raise ConfigError(malformed)


# OmegaConf asserts that YAML is a mapping or list, and follows an anchor that holds itself for ever.
_UNREADABLE = (
    yaml.YAMLError,
    OmegaConfBaseException,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    RecursionError,
)


# A comment behind a value that is not in quotes or brackets: what a shell passes on as one word is meant as one.
_COMMENT = re.compile(r"""^[^"'\[{].*\s#""")


def _malformed(override: str) -> Problem | None:
    if "=" in override[1:]:
        try:
            OmegaConf.from_dotlist([override])
        except _UNREADABLE:
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
_BRANCH = re.compile(r"(literal|list|function-\w+|tagged-union)\[.*\]|constrained-\w+|\[key\]")
# The input was not of the kind that the branch takes: where another branch fits better, this one was not meant.
_MISFIT = re.compile(r"literal_error|\w+_type|\w+_parsing")


def _problems(error: ValidationError) -> list[Problem]:
    """In the user's words: one problem per field, of a union's branches only those that the value can have meant."""
    fields: dict[str, list[tuple[bool, Problem]]] = {}  # (is a misfit, problem) by where the union, or field, stands
    for item in error.errors():
        loc = [str(part) for part in item["loc"]]
        branches = [i for i, part in enumerate(loc) if _BRANCH.fullmatch(part)]
        branches += [i + 1 for i in branches if loc[i].startswith("tagged-union") and i + 1 < len(loc)]  # the tag
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
    if item["type"].startswith("union_tag"):
        path, kinds = f"{path}.type", item["ctx"].get("expected_tags", "")
        rule = f"must be one of {kinds}" if kinds else "is required, and says which kind of scorer this is"
        return [Problem(path, item["ctx"].get("tag"), rule)]
    if item["type"] == "extra_forbidden":
        rule = "unknown key"
    if item["type"] == "missing":  # its value would be all that stands around it
        return [Problem(path, None, "is required")]
    return [Problem(path, item["input"], rule)]
