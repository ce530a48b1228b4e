"""A Griffe extension for `make docs`: a class's fields, with the comments beside them, become a table of its page.

The code describes a field by a comment on its line, or on the lines above it. Griffe reads docstrings only.
"""

import io
import re
import tokenize
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import griffe

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class FieldComments(griffe.Extension):
    """Adds a section "Fields" to the docstring of every class that has annotated attributes."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if cls.docstring is None or not isinstance(cls.filepath, Path):
            return
        comments = comments_of(cls.filepath)
        rows = []
        for name, member in list(cls.members.items()):
            if member.is_alias or not isinstance(member, griffe.Attribute):
                continue
            del cls.members[name]  # the table stands in for it
            if member.is_public and member.annotation is not None and member.lineno and member.docstring is None:
                default, bounds = default_of(member.value)
                description = "; ".join(filter(None, [comment_on(member, comments), *bounds]))
                rows.append(
                    griffe.DocstringParameter(
                        name, annotation=shown(member.annotation), description=description, value=default
                    )
                )
        if rows:
            cls.docstring.parsed.append(griffe.DocstringSectionParameters(rows, title="Fields:"))


@cache
def comments_of(file: Path) -> dict[int, tuple[str, bool]]:
    """Return line -> its comment, and whether nothing else stands on that line."""
    with tokenize.open(file) as stream:
        tokens = tokenize.generate_tokens(io.StringIO(stream.read()).readline)
        return {
            token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
            for token in tokens
            if token.type == tokenize.COMMENT
        }


def comment_on(attribute: griffe.Attribute, comments: dict[int, tuple[str, bool]]) -> str:
    """Return the comment on an attribute's last line, or else the block of comments above it."""
    assert attribute.lineno is not None
    beside, alone = comments.get(attribute.endlineno or attribute.lineno, ("", False))
    if beside and not alone:
        return beside
    block: list[str] = []
    line = attribute.lineno - 1
    while comments.get(line, ("", False))[1]:
        block.insert(0, comments[line][0])
        line -= 1
    text = " ".join(block)
    return "" if re.fullmatch(r"\w+( \w+)?", text) else text  # a heading of a group of fields, such as "# Data"


def default_of(value: str | griffe.Expr | None) -> tuple[str | griffe.Expr | None, list[str]]:
    """Return a field's default (None if it is required) and, of pydantic's Field, its bounds in words."""
    if not isinstance(value, griffe.ExprCall) or str(value.function) not in ("Field", "field"):
        return value, []
    default: str | griffe.Expr | None = None
    bounds = []
    for argument in value.arguments:
        if not isinstance(argument, griffe.ExprKeyword):
            default = argument
        elif argument.name == "default_factory":
            factory = str(argument.value).removeprefix("lambda: ")
            default = {"dict": "{}", "list": "[]"}.get(factory, factory)
        elif argument.name in BOUNDS:
            bounds.append(f"{BOUNDS[argument.name]} {argument.value}")
    return default, bounds


def shown(annotation: str | griffe.Expr) -> str | griffe.Expr:
    """Return an annotation without the validators of ``Annotated`` and without ``ClassVar``."""
    if isinstance(annotation, griffe.ExprSubscript):
        if str(annotation.left) == "Annotated" and isinstance(annotation.slice, griffe.ExprTuple):
            return shown(annotation.slice.elements[0])
        if str(annotation.left) == "ClassVar":
            return shown(annotation.slice)
        return griffe.ExprSubscript(annotation.left, shown(annotation.slice))
    if isinstance(annotation, griffe.ExprTuple):
        elements: Sequence[str | griffe.Expr] = [shown(element) for element in annotation.elements]
        return griffe.ExprTuple(elements, annotation.implicit)
    if isinstance(annotation, griffe.ExprBinOp):
        return griffe.ExprBinOp(shown(annotation.left), annotation.operator, shown(annotation.right))
    return annotation
