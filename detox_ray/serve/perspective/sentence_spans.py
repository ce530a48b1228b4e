"""Splitting of a comment into sentences, so that each can be scored."""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_SENTENCES = 256  # the last one contains the rest of the comment
# A sentence ends with its end marks and the closing quotes and brackets after them, or with the line. Chinese and
# Japanese have no space after an end mark. A row of end marks matches only from the first one: it may be 20 kB long.
_SENTENCE = re.compile(
    r"""[^\n]*?(?:
        (?<![.!?؟۔।…]) [.!?؟۔।…]+ ["'»”’)\]]* (?=\s|$)
      | [。！？]+ [」』”’）]*
      | (?=\n) | $
    )""",
    re.MULTILINE | re.VERBOSE,
)


class Span(NamedTuple):
    """A part of a text, in characters; ``end`` is exclusive."""

    begin: int
    end: int


def whole(text: str) -> list[Span]:
    """Return the whole text as one span."""
    return [Span(0, len(text))]


def sentences(text: str) -> list[Span]:
    """Return the spans of the sentences, without surrounding blanks. A blank text has none."""
    spans = list(_sentences(text))
    if len(spans) <= MAX_SENTENCES:
        return spans
    rest = Span(spans[MAX_SENTENCES - 1].begin, spans[-1].end)
    return [*spans[: MAX_SENTENCES - 1], rest]


def utf16(text: str, span: Span) -> Span:
    """Convert a span to UTF-16 code units, which the Perspective API and JavaScript count in."""
    begin = len(text[: span.begin].encode("utf-16-le")) // 2
    return Span(begin, begin + len(text[span.begin : span.end].encode("utf-16-le")) // 2)


def _sentences(text: str) -> Iterator[Span]:
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        begin = match.start() + len(sentence) - len(sentence.lstrip())
        end = begin + len(sentence.strip())
        if end > begin:
            yield Span(begin, end)
