"""Which tuned models the engine of their parent can serve: a LoRA adapter that vLLM takes, chosen per request.

Sharing saves an engine's memory and start; an engine of one's own is always right. So an adapter is shared only where
it is known that vLLM applies the whole of it: a plain LoRA on modules that vLLM maps in this architecture. What decides
is read from the adapter's files, without importing vLLM; tests hold the tables against vLLM's own.
"""

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from detox_ray.models import ADAPTER, LoadableModel
from detox_ray.models.families import vllm_lora_modules
from detox_ray.storage import Store

WEIGHTS = "adapter_model.safetensors"
_PREFIX, _SUFFIXES = "base_model.model.", (".lora_A.weight", ".lora_B.weight")  # of PEFT's names

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that an engine can be started for: vllm.config.lora.MaxLoRARanks

# PEFT's options that make of an adapter more than the product of two factors, beside initialisations: vLLM refuses them
# (vllm/lora/peft_helper.py), or would leave their effect out.
_MORE = (
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
_INITIALISATIONS = ("gaussian", "eva", "orthogonal")  # by name; others change the weights beneath (PiSSA, …)


class Adapter(NamedTuple):
    """A LoRA adapter in the store."""

    folder: str
    rank: int  # that its engine must be started for


def adapter_of(model: LoadableModel, parent: LoadableModel, store: Store) -> Adapter | None:
    """The adapter that makes ``model`` of ``parent``; None where there is none, or vLLM cannot take it."""
    folder = f"{model.location}/adapter"
    if not model.in_store or model.dtype != parent.dtype or not store.exists(f"{folder}/{ADAPTER}"):
        return None
    architectures = json.loads(store.read_bytes(f"{model.location}/config.json")).get("architectures")
    modules = vllm_lora_modules(architectures or ())
    config = json.loads(store.read_bytes(f"{folder}/{ADAPTER}"))
    if not modules or not plain(config) or not store.exists(f"{folder}/{WEIGHTS}"):
        return None
    if not all(mapped(name, modules) for name in _names(store, f"{folder}/{WEIGHTS}")):
        return None
    rank = largest_rank(config)
    started_for = next((size for size in RANKS if size >= rank), None)
    return Adapter(folder, started_for) if started_for is not None else None


def plain(config: dict[str, Any]) -> bool:
    """Whether PEFT's config is that of a LoRA without anything to it."""
    start = config.get("init_lora_weights", True)
    return (
        config.get("peft_type") == "LORA"
        and config.get("bias", "none") == "none"
        and not any(config.get(option) for option in _MORE)
        and (isinstance(start, bool) or start in _INITIALISATIONS)
    )


def mapped(name: str, modules: Collection[str]) -> bool:
    """Whether vLLM has a place for an adapter's tensor of this name."""
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    if suffix is None or not name.startswith(_PREFIX):
        return False
    return name.removesuffix(suffix).rpartition(".")[2] in modules


def largest_rank(config: dict[str, Any]) -> int:
    return max(int(rank) for rank in (config["r"], *(config.get("rank_pattern") or {}).values()))


def _names(store: Store, path: str) -> list[str]:
    """Of the tensors in a safetensors file, whose first 8 bytes are the size of its header, in JSON."""
    with store.fs.open_input_file(store.path(path)) as file:
        size = int.from_bytes(file.read(8), "little")
        return [name for name in json.loads(file.read(size)) if name != "__metadata__"]
