"""Published sets of items that the suites can read, with their content, licence and origin."""

from typing import NamedTuple


class PublishedSet(NamedTuple):
    """A published set of items."""

    name: str
    suite: str  # the experiment's block that uses it
    source: str  # its name in that block
    languages: tuple[str, ...]  # the languages that detox_ray supports
    size: str  # per language
    licence: str  # as stated by the publisher
    origin: str


class PresentItems(NamedTuple):
    """The items of one of an experiment's sets in one language."""

    suite: str
    set: str
    language: str
    items: int
