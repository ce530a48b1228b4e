"""The texts that a run's page lets a reader see one by one: what models were given, and what they said or chose."""

from collections.abc import Sequence
from typing import NamedTuple


class ExplorerCompletion(NamedTuple):
    """A text that one model wrote, or an option that it chose."""

    model: str
    sample: int
    text: str
    toxicity: float | None  # of the primary scorer; None unless status is ok
    status: str  # why there is no score; of a chosen option, what the option is ("stereotype")


class ExplorerPrompt(NamedTuple):
    """One prompt, or an item of a suite, with what models said or chose."""

    language: str
    prompt_id: str
    prompt: str
    completions: Sequence[ExplorerCompletion]
    group: str = ""  # the set of an item; empty of a prompt
    part: str = ""  # the item's type
