"""Files that extend others: ``extends`` lists a file's parents. The file replaces their values or adds to them.

A file that is reached twice is merged once, before all files that extend it, so that a common ancestor never overrides
the value of a child.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detox_ray.config import ConfigError, Problem

# Includes AssertionError because OmegaConf asserts that YAML is a mapping or a list, and RecursionError because it
# recurses without end into an anchor that contains itself.
UNREADABLE = (
    yaml.YAMLError,
    OmegaConfBaseException,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    RecursionError,
)


class Layer(NamedTuple):
    """The values of one file, without those of its parents, or the overrides of the command line."""

    source: str  # how messages name the file
    values: dict[Any, Any]


def read_layers(path: str | Path, name: str) -> list[Layer]:
    """Read a YAML file and all that it extends.

    Args:
        path: The file.
        name: What messages call it.

    Returns:
        A layer for each file, in the order in which they are merged: parents first, the file itself last.

    Raises:
        ConfigError: Some files cannot be used. It names each of them, and the file that extends it.
    """
    reader = _Reader()
    reader.read(Path(path), (), Problem(name, str(path), ""))
    if reader.problems:
        raise ConfigError(reader.problems)
    return list(reader.layers.values())


def merge(layers: Sequence[Layer]) -> dict[Any, Any]:
    """Merge layers. Mappings are merged key by key; any other value, such as a list, replaces the earlier one."""
    whole: dict[Any, Any] = {}
    for layer in layers:
        whole = _merged(whole, layer.values)
    return whole


def sources(layers: Sequence[Layer], field: str) -> list[str]:
    """Return the files that a value of the merged layers comes from: one file, or all that add to a mapping."""
    names: list[str] = []
    merges = False  # True if the value so far is a mapping, to which another layer only adds
    for layer in layers:
        value: Any = layer.values
        rest = field
        while rest and isinstance(value, dict):
            keys = [key for key in value if f"{rest}.".startswith(f"{key}.")]
            if not keys:
                break
            key = max(keys, key=lambda key: len(str(key)))  # names may hold dots
            value, rest = value[key], rest[len(str(key)) + 1 :]
        if isinstance(value, dict) and rest:
            continue  # this layer does not mention the field
        names = [*(names if merges and isinstance(value, dict) else []), layer.source]
        merges = isinstance(value, dict)
    return names


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: _merged(below[key], value) if key in below else value for key, value in above.items()}


class _Reader:
    """A reader that collects layers, by the real paths of their files, and problems."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.problems: list[Problem] = []

    def read(self, file: Path, children: tuple[Path, ...], problem: Problem) -> None:
        """Read one file after its parents.

        Args:
            file: The file.
            children: The chain of files that led to this one, starting with the given file.
            problem: What to report if the file cannot be used; its rule is filled in here.
        """
        real = os.path.realpath(file)
        if real in self.layers:
            return
        if real in map(os.path.realpath, children):
            ring = " -> ".join(map(str, (*children, file)))
            self.problems.append(problem._replace(rule=f"a file cannot extend itself: {ring}"))
            return
        try:
            values = _mapping(file)
        except _Unusable as error:
            place = f"{file} " if children else ""
            self.problems.append(problem._replace(rule=f"{place}{error}"))
            return
        # Paths in a linked file are relative to the file that the link points to.
        folder = (file.resolve() if file.is_symlink() else file).parent
        extends = values.pop("extends", [])
        for number, parent in enumerate(extends if isinstance(extends, list) else [extends]):
            field = f"extends.{number}" if isinstance(extends, list) else "extends"
            unusable = Problem(field, parent, "", str(file))
            if rule := _wrong_parent(parent):
                self.problems.append(unusable._replace(rule=rule))
            else:
                self.read(folder / os.path.expanduser(parent), (*children, file), unusable)
        self.layers[real] = Layer(str(file), values)


def _wrong_parent(parent: Any) -> str | None:
    if not isinstance(parent, str) or not parent.strip() or "\0" in parent:
        return "must be the path of a YAML file, relative to this one, or a list of such paths"
    if "${" in parent:
        return "cannot be interpolated, because the files are read first: write the path itself"
    return None


def why_unusable(error: Exception) -> str:
    """Return what is wrong with YAML, in one line; ``error``: one of `UNREADABLE`."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        mark = error.problem_mark
        tabs = "; indent with spaces, not with tabs" if r"'\t'" in error.problem else ""
        return f"is not valid YAML: line {mark.line + 1}, column {mark.column + 1}: {error.problem}{tabs}"
    return f"is not a usable YAML mapping: {error}".removesuffix(": ")


class _Unusable(Exception):
    """A file that cannot be used. The message says why."""


def _mapping(file: Path) -> dict[Any, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _Unusable(f"is not UTF-8 text (byte {error.start + 1}): save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise _Unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        # OmegaConf reads 1e-5 as a number and refuses repeated keys, but it would take a single word for a key.
        if isinstance(yaml.compose(text, Loader=yaml.SafeLoader), yaml.ScalarNode):
            raise TypeError("it holds a single value")
        values = OmegaConf.to_container(OmegaConf.create(text))
        if not isinstance(values, dict):
            raise TypeError("it holds a list")
    except UNREADABLE as error:
        raise _Unusable(why_unusable(error)) from None
    return values
