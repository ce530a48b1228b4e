"""Starting an engine by its name."""

from typing import Any

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Engine


def start(name: str, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig) -> Engine:
    """Load the model at ``path`` (a folder or a hub id) into the engine ``name``."""
    if name == "vllm":
        from detox_ray.generate.vllm_engine import VLLMEngine

        return VLLMEngine(path, loading, dtype, config)
    from detox_ray.generate.transformers_engine import TransformersEngine

    return TransformersEngine(path, loading, dtype, config)
