"""LoRA adapters that can share their parent's engine, because vLLM can apply them per request.

Sharing saves the memory and the start of an engine, but a separate engine is correct for every model. So an adapter is
shared only if vLLM is known to apply all of it: a plain LoRA on modules that vLLM maps in this architecture. The
decision needs only the adapter's files and does not import vLLM. Tests compare the tables here with vLLM's.
"""

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from detox_ray.models import ADAPTER, LoadableModel
from detox_ray.models.families import vllm_lora_modules
from detox_ray.storage import Store

WEIGHTS = "adapter_model.safetensors"
_PREFIX, _SUFFIXES = "base_model.model.", (".lora_A.weight", ".lora_B.weight")  # parts of PEFT's names of tensors

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the ranks for which an engine can start: vllm.config.lora.MaxLoRARanks

# PEFT's options, apart from initialisations, that make an adapter more than the product of two factors. vLLM rejects
# them (vllm/lora/peft_helper.py) or would ignore their effect.
_BEYOND_PLAIN_LORA = (
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
_INITIALISATIONS = ("gaussian", "eva", "orthogonal")  # others, such as PiSSA, change the base weights


class SharedAdapter(NamedTuple):
    """A LoRA adapter that its parent's engine can serve."""

    folder: str  # in the store
    rank: int  # the rank for which the engine must be started


def shared_adapter(model: LoadableModel, parent: LoadableModel, store: Store) -> SharedAdapter | None:
    """Return the adapter that turns ``parent`` into ``model``; None if there is none, or vLLM cannot apply it."""
    folder = f"{model.location}/adapter"
    if not model.in_store or model.dtype != parent.dtype or not store.exists(f"{folder}/{ADAPTER}"):
        return None
    architectures = json.loads(store.read_bytes(f"{model.location}/config.json")).get("architectures")
    modules = vllm_lora_modules(architectures or ())
    config = json.loads(store.read_bytes(f"{folder}/{ADAPTER}"))
    if not modules or not is_plain_lora(config) or not store.exists(f"{folder}/{WEIGHTS}"):
        return None
    if not all(is_mapped(name, modules) for name in _tensor_names(store, f"{folder}/{WEIGHTS}")):
        return None
    rank = largest_rank(config)
    engine_rank = next((size for size in RANKS if size >= rank), None)
    return SharedAdapter(folder, engine_rank) if engine_rank is not None else None


def is_plain_lora(config: dict[str, Any]) -> bool:
    """Return whether PEFT's config describes a LoRA and nothing more."""
    initialisation = config.get("init_lora_weights", True)
    return (
        config.get("peft_type") == "LORA"
        and config.get("bias", "none") == "none"
        and not any(config.get(option) for option in _BEYOND_PLAIN_LORA)
        and (isinstance(initialisation, bool) or initialisation in _INITIALISATIONS)
    )


def is_mapped(name: str, modules: Collection[str]) -> bool:
    """Return whether vLLM applies an adapter's tensor with this name."""
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    if suffix is None or not name.startswith(_PREFIX):
        return False
    return name.removesuffix(suffix).rpartition(".")[2] in modules


def largest_rank(config: dict[str, Any]) -> int:
    """Return the largest rank that PEFT's config gives to any module."""
    return max(int(rank) for rank in (config["r"], *(config.get("rank_pattern") or {}).values()))


def _tensor_names(store: Store, path: str) -> list[str]:
    """Return the names of the tensors in a safetensors file: 8 bytes of header size, then the header as JSON."""
    with store.fs.open_input_file(store.path(path)) as file:
        size = int.from_bytes(file.read(8), "little")
        return [name for name in json.loads(file.read(size)) if name != "__metadata__"]
