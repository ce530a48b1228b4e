"""Published tuned checkpoints that do not stand alone: an adapter, or weights without a tokenizer.

Such a model (`path` and `parent`) becomes a whole folder in the run, as if it had been trained there: the adapter is
merged into its parent's weights, the parent's tokenizer stands beside. BatsResearch publishes its models so.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from detox_ray.config import InputError
from detox_ray.models import LoadableModel
from detox_ray.progress import Progress
from detox_ray.store import Store, Unit, key_of

VERSION = 1  # of what is made of the same files


def import_key(source: LoadableModel, parent: LoadableModel) -> str:
    """Of the model that `import_checkpoint` makes."""
    return key_of(stage="import", version=VERSION, source=source.key, parent=parent.key)


def import_checkpoint(source: LoadableModel, parent: LoadableModel, key: str, store: Store, progress: Progress) -> None:
    """Make ``source``'s model whole and commit it under ``key`` as Unit("checkpoints", (its name,)).

    On any node of the Ray that is connected. Raises InputError where the two do not fit together.
    """
    import ray

    progress.say(f"import {source.name}: {source.location} beside {parent.name}")
    remote = ray.remote(num_cpus=1, max_retries=2)(_attempt)
    info, problem = ray.get(remote.remote(source, parent, store))
    if problem is not None:
        raise InputError(f"models.{source.name}.path: {problem}")
    store.commit(Unit("checkpoints", (source.name,)), key, None, info)


def _attempt(source: LoadableModel, parent: LoadableModel, store: Store) -> tuple[dict[str, Any], str | None]:
    """What the marker says, or what is wrong: Ray wraps exceptions beyond recognition."""
    try:
        with tempfile.TemporaryDirectory(prefix="detox-ray-import-") as folder:
            return make(source, parent, store, Path(folder)), None
    except (InputError, ValueError) as error:
        return {}, str(error)


def make(source: LoadableModel, parent: LoadableModel, store: Store, folder: Path) -> dict[str, Any]:
    """Write the whole model to the empty ``folder`` and put it into the store as ``checkpoints/<name>``."""
    os.environ["TQDM_DISABLE"] = "1"
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from detox_ray.train import merging, result

    transformers.logging.set_verbosity_error()
    files, path = _files(source), parent.local_path(store)
    adapted = not (files / "config.json").is_file()
    for file in files.iterdir():
        if file.is_file() and file.name.endswith((".safetensors", ".json", ".jinja", ".model", ".txt")):
            target = folder / result.ADAPTER if adapted else folder
            target.mkdir(exist_ok=True)
            shutil.copyfile(file, target / file.name)
    tokenizer = AutoTokenizer.from_pretrained(path, **parent.loading())
    if adapted:
        if not (folder / result.ADAPTER / merging.WEIGHTS).is_file():
            raise InputError(f"the adapter has no {merging.WEIGHTS}, and pickled weights can run code when loaded")
        base = AutoModelForCausalLM.from_pretrained(path, **parent.loading(), dtype="auto")
        merging.merge(base, folder / result.ADAPTER).save_pretrained(folder)
        dtype = base.dtype
        del base
    else:
        config = AutoConfig.from_pretrained(folder)
        dtype = config.dtype
        if config.vocab_size < len(tokenizer):
            raise InputError(
                f"its vocabulary has {config.vocab_size:,} entries and the tokenizer of its parent {parent.name} "
                f"{len(tokenizer):,}: they do not belong together"
            )
    tokenizer.save_pretrained(folder)
    result.verify(folder, dtype, {})
    store.retract(Unit("checkpoints", (source.name,)))
    store.upload(folder, f"checkpoints/{source.name}")
    kind = "adapter" if adapted else "weights without a tokenizer"
    return {"imported": source.location, "revision": source.revision, "kind": kind, "parent": parent.location}


def _files(source: LoadableModel) -> Path:
    if source.revision is None:
        return Path(source.location)
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    return Path(snapshot_download(source.location, revision=source.revision, allow_patterns=patterns))
