"""Builders of rows for items that are sentences."""

from collections.abc import Sequence
from typing import Any

from detox_ray.data.fields import is_blank
from detox_ray.suites.bias.tables import ANTI, STEREOTYPE


def unusable(more: str | None, less: str | None) -> str | None:
    """Return why two sentences do not form a pair, or None if they do. Unusable pairs are left out and counted."""
    if not more or not less or is_blank(more) or is_blank(less):
        return "empty"
    return "with two equal sentences" if more.strip() == less.strip() else None


def pair(
    item_id: str, more: str, less: str, part: str, *, direction: str = "", cluster: str | None = None
) -> dict[str, Any]:
    """Build the row of a pair of sentences, the more stereotyping one first."""
    return sentences(item_id, cluster or item_id, part, [more, less], [STEREOTYPE, ANTI], direction)


def sentences(
    item_id: str, cluster: str, part: str, options: Sequence[str], roles: Sequence[str], direction: str = ""
) -> dict[str, Any]:
    """Build the row of an item whose options are sentences."""
    return {
        "item_id": item_id,
        "cluster": cluster,
        "part": part,
        "condition": "",
        "polarity": "",
        "control": False,
        "direction": direction,
        "context": None,
        "question": None,
        "options": list(options),
        "roles": list(roles),
        "label": None,
        "source_index": item_id,
    }
