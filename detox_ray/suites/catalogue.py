"""Published sets of items that the suites read: what they hold, under which licence, and where they come from."""

from typing import NamedTuple


class PublishedSet(NamedTuple):
    """A set that others publish."""

    name: str
    suite: str  # the experiment's block that uses it
    source: str  # its name in that block
    languages: tuple[str, ...]  # of those that are known here
    size: str  # per language
    licence: str  # as its publisher states it
    origin: str


class PresentItems(NamedTuple):
    """The items of one of an experiment's sets in one language."""

    suite: str
    set: str
    language: str
    items: int
