"""Find settings that ask for more tokens than a model's config allows, before anything is loaded or trained.

A trained model, or an adapter, has the limit of the model from which it descends.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import TOY17, TOY17_CONTEXT, Experiment, Problem
from detox_ray.models.codec import CONTEXT, context_of, prefix_of
from detox_ray.models.families import stated_positions
from detox_ray.models.remote_models import local_folder
from detox_ray.models.resolve import ADAPTER, is_folder

LONGEST_PREFIX = 8  # tokens; the tokenizer is loaded to measure its prefix only if no more than this are left


class ModelFiles(NamedTuple):
    """The part of a model that is on this machine."""

    config: Mapping[str, Any]  # the content of config.json
    folder: str | None  # the folder of config.json, which may also have the tokenizer


def problems(experiment: Experiment, files: Mapping[str, ModelFiles]) -> list[Problem]:
    """Return the problems of the completions' lengths in all stages, and of every train block's ``max_length``.

    Args:
        experiment: The experiment.
        files: Name of a model that descends from no other (`root`) -> its files. Models may be missing.
    """
    families: dict[str, list[str]] = {}
    for name in experiment.models:
        families.setdefault(root(experiment, name), []).append(name)
    lengths = {"generate.max_tokens": experiment.generate.max_tokens}
    if experiment.ability is not None:
        lengths["ability.max_tokens"] = experiment.ability.max_tokens
    if experiment.explain is not None:
        lengths["explain.new_tokens"] = experiment.explain.new_tokens
    problems: list[Problem] = []
    for base, names in families.items():
        known = files.get(base)
        config = None if known is None else _whole(known.config)
        folder = None if known is None else known.folder
        for field, tokens in lengths.items():
            problems += _generation(field, tokens, names, config, folder)
        positions = None if config is None else stated_positions(config)
        for name in names:
            train = experiment.models[name].train
            if train is not None and positions is not None and train.max_length > positions:
                rule = f"must be at most {positions}, the number of positions of {base}"
                problems.append(Problem(f"models.{name}.train.max_length", train.max_length, rule))
    return problems


def _generation(field: str, tokens: int, names: list[str], config: Any, folder: str | None) -> list[Problem]:
    context = CONTEXT if config is None else context_of(config, _tokenizer_limit(folder))
    left = context - tokens
    prefix = _prefix_length(folder) if 0 < left <= LONGEST_PREFIX else 0
    if left > prefix:
        return []
    takes = f"{', '.join(names)} {'takes' if len(names) == 1 else 'take'} {context} tokens"
    rule = f"must be at most {context - prefix - 1}: {takes} here, of prompt and completion together"
    return [Problem(field, tokens, rule)]


def root(experiment: Experiment, name: str) -> str:
    """Return the model whose config ``name`` has: itself, or the ancestor that it was trained from or adapts."""
    while (parent := (model := experiment.models[name]).descends_from) is not None:
        if model.path is not None and not _is_adapter(model.path, model.revision):
            return name
        name = parent
    return name


def read(experiment: Experiment) -> dict[str, ModelFiles]:
    """Return the files of each root model with a config on this machine: in a folder, in the hub's cache, or toy17."""
    files_by_root = {}
    for name in dict.fromkeys(root(experiment, name) for name in experiment.models):
        model = experiment.models[name]
        files = None if model.path is None else files_of(model.path, model.revision)
        if files is not None:
            files_by_root[name] = files
    return files_by_root


def files_of(path: str, revision: str | None) -> ModelFiles | None:
    """Return the files at a model's path; None if its config is not on this machine or cannot be read."""
    if path == TOY17:
        return ModelFiles({"max_position_embeddings": TOY17_CONTEXT}, None)
    file = file_of(path, revision, "config.json")
    if file is None:
        return None
    content = _json(file)
    return ModelFiles(content, str(file.parent)) if content else None


def fetch(repository: str, commit: str, names: Iterable[str]) -> None:
    """Fetch files of a hub id into the cache. Files that the repository lacks, or that cannot be had, are skipped."""
    from huggingface_hub import hf_hub_download

    for name in names:
        try:
            hf_hub_download(repository, name, revision=commit)
        except Exception:  # absent or unreachable, which loading the model will report
            continue


def _is_adapter(path: str, revision: str | None) -> bool:
    if path == TOY17 or file_of(path, revision, "config.json") is not None:
        return False
    return file_of(path, revision, ADAPTER) is not None


def file_of(path: str, revision: str | None, name: str) -> Path | None:
    """Return a file of a model's folder, or of its hub id in the cache; None if it is in neither."""
    if path == TOY17:
        return None  # the run builds it
    if is_folder(path):
        file = local_folder(path) / name
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(path, name, revision=revision or "main")
    return Path(cached) if isinstance(cached, str) else None


def _json(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if it is not a readable mapping, which loading the model will report."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _whole(config: Mapping[str, Any]) -> Any:
    """Return the config, completed by its family's defaults if it does not state how many tokens the model takes."""
    if stated_positions(config) is not None:
        return config
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = str(config.get("model_type"))
    return CONFIG_MAPPING[family].from_dict(dict(config)) if family in CONFIG_MAPPING else config


def _tokenizer_limit(folder: str | None) -> float | None:
    limit = None if folder is None else _json(Path(folder) / "tokenizer_config.json").get("model_max_length")
    return limit if isinstance(limit, int | float) else None


def _prefix_length(folder: str | None) -> int:
    """Return the length of the tokenizer's prefix; 0 if ``folder`` has no tokenizer that loads."""
    if folder is None:
        return 0
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError):
        return 0
    return len(prefix_of(tokenizer))
