"""Which tuned models the engine of their parent can serve: a LoRA adapter that vLLM takes, chosen per request."""

import json
from typing import NamedTuple

from detox_ray.models import ADAPTER, LoadableModel
from detox_ray.store import Store


class Adapter(NamedTuple):
    """A LoRA adapter in the store."""

    folder: str
    rank: int


def adapter_of(model: LoadableModel, parent: LoadableModel, store: Store) -> Adapter | None:
    """The adapter that makes ``model`` of ``parent``; None where there is none, or vLLM cannot take it."""
    folder = f"{model.location}/adapter"
    if not model.in_store or not store.exists(f"{folder}/{ADAPTER}"):
        return None
    config = json.loads(store.read_bytes(f"{folder}/{ADAPTER}"))
    return Adapter(folder, int(config["r"]))
