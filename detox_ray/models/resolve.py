"""Resolve a model's entry in the experiment to something that can be loaded, with the key of its weights.

Safe by default: weights must be safetensors, a folder with pickled weights only is rejected, and neither this module
nor the loaders turn on `trust_remote_code`.
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import TOY17, InputError, Problem
from detox_ray.models.hub_errors import why_not_on_hub
from detox_ray.models.remote_models import content_key, is_uri, local_copy, local_folder
from detox_ray.storage import Store, key_of

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


class LoadableModel(NamedTuple):
    """Everything that an engine or a trainer needs to load a model on any node."""

    name: str  # the model's name in the experiment
    location: str  # hub id, absolute folder, URI of a folder in a bucket, or a folder inside the run (in_store)
    in_store: bool
    revision: str | None  # commit of a hub id
    dtype: str  # "auto", "float32", …
    key: str  # changes whenever the weights or the tokenizer may
    mirror: str | None = None  # URI of the copy of a hub model in the runs' storage

    def local_path(self, store: Store) -> str:
        """Return the path that from_pretrained and vLLM take on this node."""
        if self.mirror is not None or is_uri(self.location):
            return str(local_copy(self.mirror or self.location))
        return str(store.localize(self.location)) if self.in_store else self.location

    def loading(self) -> dict[str, Any]:
        """Return keyword arguments for every from_pretrained call."""
        return {"revision": None if self.mirror else self.revision, "trust_remote_code": False}


def is_folder(path: str) -> bool:
    """Return whether a path means a folder, as opposed to a hub id such as ``org/model``."""
    return path.startswith((".", "/", "~")) or Path(path).exists() or path.count("/") > 1


TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
ADAPTER = "adapter_config.json"
VOCABULARY = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a tokenizer needs one of these besides its config
# Kinds of PEFT adapter that do not change weights: trained inputs, or modules that run beside the model.
UNMERGEABLE = (
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "LILY",
    "MULTITASK_PROMPT_TUNING",
    "POLY",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
    "SHADOW",
    "XLORA",
)


def stands_alone(files: Collection[str]) -> bool:
    """Return whether a folder with these files is a complete model: not an adapter, and with a tokenizer."""
    return "config.json" in files and any(name in files for name in TOKENIZER)


def check(field: str, path: str, parent: str | None = None) -> list[Problem]:
    """Return the problems of ``models.<name>.path`` that show without loading it. Hub ids are checked later.

    If the model has a ``parent``, the path may be an adapter, or may lack a tokenizer.
    """
    if path == TOY17 or not is_folder(path):
        return []
    try:
        folder = local_folder(path)
    except InputError as error:
        return [Problem(field, path.partition("?")[0], str(error))]
    if not folder.is_dir():
        return [Problem(field, path, "must be a hub id (org/name), toy17, s3://… or gs://…, or an existing folder")]
    adapter = (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()
    if adapter and parent is None:
        return [Problem(field, path, "is an adapter: name the model that it was trained on as `parent`, beside `path`")]
    if not adapter and not (folder / "config.json").is_file():
        return [Problem(field, path, "is not a Hugging Face model folder: it has no config.json")]
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        if pickled:
            rule = "holds only pickled weights, which can run code when loaded: convert them to safetensors"
            return [Problem(field, ", ".join(pickled[:3]), rule)]
        return [Problem(field, path, "is a model folder without weights: it has no *.safetensors")]
    problems = _shards(field, folder)
    if problems:
        return problems
    if adapter:
        return check_adapter(field, folder / ADAPTER)
    if parent is None and not any((folder / name).is_file() for name in TOKENIZER):
        return [Problem(field, path, "is a model folder without a tokenizer (with a `parent`, it uses the parent's)")]
    return []


def check_adapter(field: str, file: Path) -> list[Problem]:
    """Return the problems of an adapter's config: whether it can be merged into the weights of a causal model."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind, task = config.get("peft_type"), config.get("task_type")
    except (OSError, ValueError, AttributeError):
        return [Problem(field, file.name, "is not an adapter's config: a JSON object with peft_type")]
    if not isinstance(kind, str):
        return [Problem(field, file.name, "is not an adapter's config: it has no peft_type")]
    if kind in UNMERGEABLE or config.get("alora_invocation_tokens"):
        kind = kind if kind in UNMERGEABLE else "aLoRA"
        return [Problem(field, kind, "is an adapter of a kind that cannot be merged into its parent's weights")]
    if task not in (None, "CAUSAL_LM"):
        return [Problem(field, task, "is an adapter for another task: task_type must be CAUSAL_LM")]
    return []


def local_config(path: str, revision: str | None) -> dict[str, Any] | None:
    """Return a model's config.json if it is on this machine, in the folder or in the hub's cache; else None."""
    file: Any
    if is_folder(path):
        file = local_folder(path) / "config.json"
    else:
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(path, "config.json", revision=revision or "main")
    try:
        config = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # TypeError: not in the cache
        return None
    return config if isinstance(config, dict) else None


def _shards(field: str, folder: Path) -> list[Problem]:
    """Return a problem if the folder lacks files that its index of sharded weights names."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [Problem(field, index.name, "is not an index of weights: a JSON object with weight_map")]
    missing = sorted(name for name in named if not (folder / str(name)).is_file())
    if missing:
        few = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        rule = f"is missing: {len(missing)} of the {len(named)} files that {index.name} names are not in the folder"
        return [Problem(field, few, rule)]
    return []


def folder_key(folder: Path) -> str:
    """Return a hash of the content of a model folder's files (weights, config, tokenizer)."""
    files = {}
    for file in sorted(
        p for p in folder.iterdir() if p.is_file() and p.suffix in (".safetensors", ".json", ".model", ".txt", ".jinja")
    ):
        with file.open("rb") as stream:
            files[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return key_of(files=files)


def resolve_path(name: str, path: str, revision: str | None, dtype: str) -> LoadableModel:
    """Resolve a hub id, a folder or a URI.

    Raises InputError if the object store does not answer, or if the hub does not and the model is not cached.
    """
    if is_uri(path):
        return LoadableModel(name, path, False, None, dtype, content_key(path))
    if is_folder(path):
        folder = Path(path).expanduser().resolve()
        return LoadableModel(name, str(folder), False, None, dtype, folder_key(folder))
    commit = _hub_commit(path, revision)
    return LoadableModel(name, path, False, commit, dtype, key_of(hub=path, commit=commit))


def hub_files(repository: str, revision: str | None, patterns: Collection[str]) -> Path:
    """Return the folder in the hub's cache that holds a repository's files of some patterns; absent ones are fetched.

    Raises:
        InputError: If the hub cannot be reached and the files are not cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(f"{repository} {why_not_on_hub(error, revision)}") from None


def alone(model: LoadableModel) -> bool:
    """Return whether a model given by a path is a complete model (`stands_alone`)."""
    if model.revision is None:
        return stands_alone({file.name for file in local_folder(model.location).iterdir()})
    return stands_alone(_hub_files(model.location, model.revision))


def _hub_files(repository: str, commit: str) -> set[str]:
    """Return the names of a repository's files; if the hub does not answer, the decisive ones among those cached."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        return {file.rfilename for file in HfApi().model_info(repository, revision=commit).siblings or ()}
    except Exception:  # the hub is unreachable or refuses; the model must be cached, as its commit is known
        decisive = ("config.json", ADAPTER, *TOKENIZER)
        return {name for name in decisive if isinstance(try_to_load_from_cache(repository, name, revision=commit), str)}


def _hub_commit(repository: str, revision: str | None) -> str:
    """Return the commit that ``revision`` names now. Raises InputError if there is none or it has no safetensors."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        info = HfApi().model_info(repository, revision=revision)
    except Exception as error:  # the hub is unreachable or refuses; the path of a cached file contains its commit
        for name in ("config.json", ADAPTER):
            cached = try_to_load_from_cache(repository, name, revision=revision or "main")
            if isinstance(cached, str):
                return Path(cached).parent.name
        raise InputError(f"{repository} {why_not_on_hub(error, revision)}") from None
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
        raise InputError(
            f"{repository} has no *.safetensors on the hub, and pickled weights can run code when loaded: convert "
            "them, and give the folder as path"
        )
    assert info.sha is not None
    return info.sha
