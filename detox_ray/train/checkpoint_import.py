"""Import of published checkpoints that are incomplete: an adapter, or weights without a tokenizer.

Such a model (`path` and `parent`) becomes a complete folder in the run, as if it had been trained there. An adapter is
merged into its parent's weights. The tokenizer is the adapter's if it has one that differs from the parent's (with
added tokens, for which the embeddings grow), otherwise the parent's. BatsResearch publishes its models in this form.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from detox_ray.cluster.progress import Progress
from detox_ray.config import InputError
from detox_ray.models import VOCABULARY, LoadableModel
from detox_ray.models.codec import PROBES
from detox_ray.models.hub_mirror import PATTERNS
from detox_ray.models.remote_models import is_uri, local_copy
from detox_ray.storage import Store, key_of
from detox_ray.storage.tables import CHECKPOINTS

VERSION = 2  # raise it when the same files give another model


def import_key(source: LoadableModel, parent: LoadableModel) -> str:
    """Return the key of the model that `import_checkpoint` commits."""
    return key_of(stage="import", version=VERSION, source=source.key, parent=parent.key)


def import_checkpoint(source: LoadableModel, parent: LoadableModel, key: str, store: Store, progress: Progress) -> None:
    """Make ``source`` a complete model and commit it under ``key`` as CHECKPOINTS.unit(model=its name).

    The work runs on any node of the connected Ray.

    Raises:
        InputError: If source and parent do not belong together.
    """
    import ray

    progress.say(f"import {source.name}: {source.location} beside {parent.name}")
    remote = ray.remote(num_cpus=1, max_retries=2)(_attempt)
    info, problem = ray.get(remote.remote(source, parent, store))
    if problem is not None:
        raise InputError(f"models.{source.name}.path: {problem}")
    store.commit(CHECKPOINTS.unit(model=source.name), key, None, info)


def _attempt(source: LoadableModel, parent: LoadableModel, store: Store) -> tuple[dict[str, Any], str | None]:
    """Return the marker's content and None, or an error message, because Ray wraps exceptions beyond recognition."""
    try:
        with tempfile.TemporaryDirectory(prefix="detox-ray-import-") as folder:
            return make(source, parent, store, Path(folder)), None
    except (InputError, ValueError) as error:
        return {}, str(error)


def make(source: LoadableModel, parent: LoadableModel, store: Store, folder: Path) -> dict[str, Any]:
    """Write the complete model to the empty ``folder`` and upload it as ``checkpoints/<name>``."""
    os.environ["TQDM_DISABLE"] = "1"
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from detox_ray.train import adapter_merging, model_export

    transformers.logging.set_verbosity_error()
    files, path = _files(source), parent.local_path(store)
    adapted = not (files / "config.json").is_file()
    for file in files.iterdir():
        if file.is_file() and file.name.endswith((".safetensors", ".json", ".jinja", ".model", ".txt")):
            target = folder / model_export.ADAPTER if adapted else folder
            target.mkdir(exist_ok=True)
            shutil.copyfile(file, target / file.name)
    tokenizer = AutoTokenizer.from_pretrained(path, **parent.loading())
    if adapted:
        own = _own_tokenizer(files, tokenizer, AutoConfig.from_pretrained(path, **parent.loading()), parent.name)
        if not (folder / model_export.ADAPTER / adapter_merging.WEIGHTS).is_file():
            raise InputError(
                f"the adapter has no {adapter_merging.WEIGHTS}, and pickled weights can run code when loaded"
            )
        base = AutoModelForCausalLM.from_pretrained(path, **parent.loading(), dtype="auto")
        resized = adapter_merging.resize(base, folder / model_export.ADAPTER, len(own or tokenizer))
        adapter_merging.untie(base, folder / model_export.ADAPTER)
        _merged(base, folder / model_export.ADAPTER, parent.name).save_pretrained(folder)
        dtype = base.dtype
        del base
        if own is not None or resized:  # its parent's engine cannot serve it
            shutil.rmtree(folder / model_export.ADAPTER)
        tokenizer = own or tokenizer
    else:
        config = AutoConfig.from_pretrained(folder)
        dtype = config.dtype
        if config.vocab_size < len(tokenizer):
            raise InputError(
                f"its vocabulary has {config.vocab_size:,} entries and the tokenizer of its parent {parent.name} "
                f"{len(tokenizer):,}: they do not belong together"
            )
    tokenizer.save_pretrained(folder)
    model_export.verify(folder, dtype, {})
    store.retract(CHECKPOINTS.unit(model=source.name))
    store.upload(folder, f"checkpoints/{source.name}")
    kind = "adapter" if adapted else "weights without a tokenizer"
    return {"imported": source.location, "revision": source.revision, "kind": kind, "parent": parent.location}


def _merged(base: Any, adapter: Path, parent: str) -> Any:
    from detox_ray.train import adapter_merging

    try:
        return adapter_merging.merge(base, adapter)
    except (RuntimeError, UserWarning) as error:
        if "size mismatch" in str(error) or isinstance(error, UserWarning):
            raise InputError(f"the adapter does not fit its parent {parent}: {_brief(error)}") from None
        raise


def _brief(error: Exception) -> str:
    """Return the message of an error of torch or PEFT, without its list of tensors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "size mismatch" in line), lines[0])[:300]


def _own_tokenizer(files: Path, theirs: Any, config: Any, parent: str) -> Any:
    """Return the tokenizer in the adapter's folder; None if there is none, or if it equals its parent's (``theirs``).

    Raises:
        InputError: If a token of its parent's has a different id in it.
    """
    from transformers import AutoTokenizer

    if not any((files / name).is_file() for name in VOCABULARY):
        return None
    own = AutoTokenizer.from_pretrained(files, config=config, trust_remote_code=False)
    vocabulary, known = own.get_vocab(), theirs.get_vocab()
    moved = next((token for token, id_there in known.items() if vocabulary.get(token, id_there) != id_there), None)
    if moved is not None:
        raise InputError(
            f"its tokenizer gives {moved!r} the id {vocabulary[moved]}, that of its parent {parent} {known[moved]}: "
            "they do not belong together"
        )
    alike = (
        vocabulary == known
        and own.chat_template == theirs.chat_template
        and all(own(probe)["input_ids"] == theirs(probe)["input_ids"] for probe in PROBES)
    )
    return None if alike else own


def _files(source: LoadableModel) -> Path:
    if source.mirror is not None or is_uri(source.location):
        return local_copy(source.mirror or source.location)
    if source.revision is None:
        return Path(source.location)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source.location, revision=source.revision, allow_patterns=list(PATTERNS)))
