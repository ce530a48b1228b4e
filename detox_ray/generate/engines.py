"""Choose an engine, and start it."""

from importlib import metadata
from typing import Any, NamedTuple

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Engine
from detox_ray.models import vllm_options


class EngineChoice(NamedTuple):
    """The engine that will run."""

    name: str  # "vllm" or "transformers"
    version: str


def resolve_engine(config: GenerateConfig) -> EngineChoice:
    """Choose the engine without importing it. Raises ValueError if it is not installed."""
    vllm = vllm_options.version()
    if config.engine == "vllm" or (config.engine == "auto" and vllm):
        if vllm is None:
            raise ValueError("vllm is not installed: install it, or choose auto or transformers")
        return EngineChoice("vllm", vllm)
    return EngineChoice("transformers", metadata.version("transformers"))


def start(name: str, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig) -> Engine:
    """Load the model at ``path`` (a folder or a hub id) into the engine ``name``."""
    if name == "vllm":
        from detox_ray.generate.vllm_engine import VLLMEngine

        return VLLMEngine(path, loading, dtype, config)
    from detox_ray.generate.transformers_engine import TransformersEngine
    from detox_ray.models.causal_model import CausalModel

    return TransformersEngine(CausalModel(path, loading, dtype), config)
