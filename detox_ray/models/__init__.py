"""Models: from an entry of the experiment to weights that can be loaded, and from texts to token ids and back."""

from detox_ray.models.remote_models import local_folder
from detox_ray.models.resolve import (
    ADAPTER,
    TOKENIZER,
    VOCABULARY,
    LoadableModel,
    alone,
    check,
    check_adapter,
    folder_key,
    hub_files,
    is_folder,
    local_config,
    resolve_path,
)

__all__ = [
    "ADAPTER",
    "TOKENIZER",
    "VOCABULARY",
    "LoadableModel",
    "alone",
    "check",
    "check_adapter",
    "folder_key",
    "hub_files",
    "is_folder",
    "local_config",
    "local_folder",
    "resolve_path",
]
