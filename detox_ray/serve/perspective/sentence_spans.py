"""The sentences of a comment, for scores of its parts."""

import re
from collections.abc import Iterator
from typing import NamedTuple

MOST = 256  # sentences; the last one takes what is left
# To a mark that ends one with the quotes and brackets that close behind it, or to the end of the line. Chinese and
# Japanese put no space behind the mark. A row of marks is looked at from its first only: it may be 20 kB long.
_SENTENCE = re.compile(
    r"""[^\n]*?(?:
        (?<![.!?؟۔।…]) [.!?؟۔।…]+ ["'»”’)\]]* (?=\s|$)
      | [。！？]+ [」』”’）]*
      | (?=\n) | $
    )""",
    re.MULTILINE | re.VERBOSE,
)


class Span(NamedTuple):
    """A part of a text, in characters; ``end`` exclusive."""

    begin: int
    end: int


def whole(text: str) -> list[Span]:
    """All of it."""
    return [Span(0, len(text))]


def sentences(text: str) -> list[Span]:
    """Without the blanks around them; none of a blank text."""
    found = list(_sentences(text))
    return found if len(found) <= MOST else [*found[: MOST - 1], Span(found[MOST - 1].begin, found[-1].end)]


def utf16(text: str, span: Span) -> Span:
    """In UTF-16 code units, as the Perspective API and JavaScript count."""
    begin = len(text[: span.begin].encode("utf-16-le")) // 2
    return Span(begin, begin + len(text[span.begin : span.end].encode("utf-16-le")) // 2)


def _sentences(text: str) -> Iterator[Span]:
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        begin = match.start() + len(sentence) - len(sentence.lstrip())
        end = begin + len(sentence.strip())
        if end > begin:
            yield Span(begin, end)
