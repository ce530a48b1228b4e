"""Shared parts of the configuration: problems, the errors that carry them, strict models, names and languages."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from detox_ray.config.languages import GROUPS, read_tag, unknown_rule

TOY17 = "toy17"  # the built-in world's name as a path, a source or a scorer
TOY17_CONTEXT = 512  # tokens that its model takes


# Names under which people put a secret, although no field takes one. Messages do not repeat their values.
_SECRET_FIELD = re.compile(r"(?i).*(api_?key|access_?key|secret|password|token)$")


def _without_secrets(field: str, value: Any) -> Any:
    if value is not None and _SECRET_FIELD.fullmatch(field):
        return "***"
    if isinstance(value, dict):
        return {name: _without_secrets(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets("", inner) for inner in value]
    return value


class Problem(NamedTuple):
    """One mistake in the input."""

    field: str  # dotted, as in an override
    value: Any
    rule: str
    source: str = ""  # file that the value was written in, if it is not the given file

    def __str__(self) -> str:
        shown = repr(_without_secrets(self.field, self.value))
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        return f"{self.field}: {self.rule} (got {shown}{f'; in {self.source}' if self.source else ''})"


def closest(name: Any, known: Iterable[str]) -> str:
    """Return the end of a rule that suggests the known name most like a misspelt one; nothing if none is like it."""
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


class InputError(ValueError):
    """Input that cannot be used. The message says where the problem is and which rule is broken."""

    found_late = False  # True if the error came to light after work was done, and perhaps committed


class ConfigError(InputError):
    """Input with one or more problems, which `problems` lists."""

    def __init__(self, problems: Sequence[Problem]):
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError(
            "must hold only letters, digits, '.', '_' and '-', and begin with a letter or digit: it names a folder"
        )
    return value


def _languages(value: Any) -> Any:
    if isinstance(value, str):
        if value not in GROUPS:
            raise ValueError(f"unknown language group; known: {', '.join(GROUPS)} (or give a list of codes)")
        return list(GROUPS[value])
    return value


def _language(value: str) -> str:
    language = read_tag(value)
    if language is None:
        raise ValueError(unknown_rule(value))
    return language


def no_secret(value: str) -> str:
    """Return a URI unchanged. Raises ConfigError if it holds credentials, which the message hides."""
    # user@, user:password@ (a password may hold "/"), and the options by which pyarrow takes keys
    secret = r"(?i)(?<=://)([^/?]*|[^?@]*:[^?@]*)@|(?<=[?&])(access_key|secret_key|session_token)=[^&]*"
    hidden = re.sub(secret, "***", value)
    if hidden != value:
        raise ConfigError([Problem("", hidden, "credentials do not belong in a URI: set them in the environment")])
    return value


def variable_name(value: str) -> str:
    """Return the name of an environment variable unchanged. Raises ConfigError for any other text.

    The message does not repeat the text, which may be the key itself.
    """
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        rule = (
            "must be the name of an environment variable in capitals, such as PERSPECTIVE_API_KEY; "
            "never write the key itself into a file"
        )
        raise ConfigError([Problem("", "***", rule)])
    return value


def _distinct_languages(value: list[str]) -> list[str]:
    if repeated := sorted({language for language in value if value.count(language) > 1}):
        raise ValueError(f"each language may occur only once, in any spelling; repeated: {' '.join(repeated)}")
    return value


def distinct(value: list[Any]) -> list[Any]:
    """Return a list unchanged. Raises ValueError if an entry repeats."""
    if len(set(value)) < len(value):
        raise ValueError("each entry may occur only once")
    return value


Name = Annotated[str, AfterValidator(_name)]
LanguageCode = Annotated[str, AfterValidator(_language)]  # a tag (pt-BR) becomes its language's code
Languages = Annotated[
    list[LanguageCode], BeforeValidator(_languages), Field(min_length=1), AfterValidator(_distinct_languages)
]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
