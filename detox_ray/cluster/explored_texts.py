"""The texts in the explorer of a run's page: prompts and items, with the models' completions and choices."""

from collections.abc import Sequence
from typing import NamedTuple


class ExplorerCompletion(NamedTuple):
    """A text that one model wrote, or an option that it chose."""

    model: str
    sample: int
    text: str
    toxicity: float | None  # by the primary scorer; None unless status is ok
    status: str  # why there is no score; for a chosen option, its role ("stereotype")


class ExplorerPrompt(NamedTuple):
    """A prompt or a suite's item, with the models' completions or choices."""

    language: str
    prompt_id: str
    prompt: str
    completions: Sequence[ExplorerCompletion]
    group: str = ""  # the set of an item; empty for a prompt
    part: str = ""  # the item's type
