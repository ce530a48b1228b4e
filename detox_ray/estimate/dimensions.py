"""Find a model's config, or a scorer's number of parameters, without loading weights, and offline if possible."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from detox_ray.config import TOY17, InputError
from detox_ray.models import is_folder, local_folder
from detox_ray.models.hub_errors import why_not_on_hub
from detox_ray.toy17 import SHIPPED

TABLE = Path(__file__).with_name("dimensions.yaml")


class FoundConfig(NamedTuple):
    """A model's config and where it was found."""

    config: dict[str, Any]  # the content of config.json
    source: str  # described for people
    folder: str | None  # on this machine; may hold the tokenizer


@cache
def table() -> dict[str, Any]:
    """Return the published dimensions of dimensions.yaml."""
    content: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return content


def model_config(name: str, path: str, revision: str | None, world: Path | None) -> FoundConfig:
    """Find the config of ``models.<name>.path``.

    Args:
        name: the model's name in the experiment.
        path: a folder, a config.json, toy17, or a hub id (in the cache, among the published dimensions, or on the hub).
        revision: the revision of a hub id.
        world: toy17's folder, if it is built.

    Raises:
        InputError: the config is in none of these places.
    """
    field = f"models.{name}.path"
    if path == TOY17:
        if world is not None:
            return FoundConfig(_read(world / "model" / "config.json", field), "the built world", str(world / "model"))
        return FoundConfig(_toy17(), "toy17's size (it is not built yet)", None)
    file = Path(path).expanduser()
    if file.is_file():
        return FoundConfig(_read(file, field), str(file), None)
    if is_folder(path):
        file = local_folder(path)
        if not (file / "config.json").is_file():
            raise InputError(f"{field}: must be a hub id, a folder with a config.json, or such a file (got {path!r})")
        return FoundConfig(_read(file / "config.json", field), str(file / "config.json"), str(file))
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(path, "config.json", revision=revision or "main")
    if isinstance(cached, str):
        return FoundConfig(_read(Path(cached), field), "the hub's cache", str(Path(cached).parent))
    for entry in table()["models"]:
        if path in entry["ids"]:
            saved = {} if entry["dtype"] is None else {"dtype": entry["dtype"]}
            return FoundConfig({**entry["config"], **saved}, f"published dimensions ({entry['source']})", None)
    try:
        HfApi().model_info(path, revision=revision, timeout=5)  # fails at once; a download is tried six times
        file = Path(hf_hub_download(path, "config.json", revision=revision))
    except Exception as error:
        advice = "an estimate also needs no more than a config.json, given as path"
        raise InputError(f"{field}: {path} {why_not_on_hub(error, revision)}; {advice}") from None
    return FoundConfig(_read(file, field), "the hub", None)


def scorer_parameters(path: str) -> tuple[int, str] | None:
    """Return the number of parameters of a scorer or evaluator, and its source; None if it is unknown.

    ``path`` is a hub id, a variant of Detoxify, or a folder.
    """
    count = table()["parameters"].get(path)
    if count is not None:
        return int(count), "published"
    for entry in table()["models"]:
        if path in entry["ids"]:
            return int(entry["parameters"]), "published"
    weights = list(local_folder(path).glob("*.safetensors")) if is_folder(path) else []
    if weights:
        return sum(file.stat().st_size for file in weights) // 4, "its files, at 4 bytes a parameter"
    return None


def _read(file: Path, field: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{field}: {file} is not a readable config.json: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{field}: {file} is not a model's config.json")
    return content


def _toy17() -> dict[str, Any]:
    """Return the config of toy17's default model."""
    return _read(SHIPPED / "model" / "config.json", "toy17")
