"""Export of a trained model: a Hugging Face folder like the parent's, verified before it is uploaded to the store.

Only workers import this module.
"""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from detox_ray.config import InputError
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.train import adapter_merging, tuning
from detox_ray.train.training_job import TrainingJob

ADAPTER = "adapter"


def save_weights(trainer: Any, job: TrainingJob, parent: str) -> None:
    """Write all weights, or those of the adapter, to the job's result folder on rank 0. Every rank must call this.

    With ZeRO-3, this gathers the weights while the workers hold their GPUs. To save shards and merge them later would
    hold the GPUs longer: DeepSpeed's shards contain the optimizer's state (14 bytes per parameter instead of the 2 of
    bfloat16), and all of them must reach the storage before the workers end.
    """
    if trainer.is_world_process_zero():
        job.result.mkdir(mode=0o700)  # no other user may write there, because the weights are published
    if job.config.tuning != "full":
        trainer.save_model(str(job.result / ADAPTER))
        return
    # TRL sets the pad token in the configs, but the tuned model must generate with its parent's settings.
    trainer.model.config.pad_token_id = AutoConfig.from_pretrained(parent, **job.parent.loading()).pad_token_id
    trainer.save_model(str(job.result))


def export(job: TrainingJob) -> None:
    """Merge an adapter, add the parent's other files, verify the model, upload it to the store, and remove it here.

    This runs once, on the node of rank 0: in rank 0 itself, or in a task after the workers have ended. There is at most
    one model in memory beside the trained one of rank 0.
    """
    try:
        _complete(job, job.parent.local_path(job.store), job.result)
        job.store.retract(CHECKPOINTS.unit(model=job.name))  # its previous folder is overwritten next
        job.store.upload(job.result, f"checkpoints/{job.name}")
    finally:
        shutil.rmtree(job.result, ignore_errors=True)


def _complete(job: TrainingJob, parent: str, folder: Path) -> None:
    """Make ``folder``, which has the trained weights, a complete and verified model folder."""
    unset_hf_deepspeed_config()  # otherwise ZeRO-3 would shard the models below and wait for the other ranks
    loading = {**job.parent.loading(), "dtype": getattr(torch, job.config.dtype)}
    base = AutoModelForCausalLM.from_pretrained(parent, **loading)
    before, generation = digests(base), base.generation_config
    if job.config.tuning != "full":
        if job.config.merge_into == "4-bit":
            del base
            base = AutoModelForCausalLM.from_pretrained(parent, **loading, quantization_config=tuning.four_bit(job))
        adapter_merging.merge(base, folder / ADAPTER).save_pretrained(folder)
        _remove_all_but(folder / ADAPTER, ("adapter_config.json", ".safetensors"))
    del base
    _remove_all_but(folder, ("config.json", "model.safetensors.index.json", ".safetensors"))
    AutoTokenizer.from_pretrained(parent, **job.parent.loading()).save_pretrained(folder)
    try:
        GenerationConfig.from_pretrained(parent, **job.parent.loading()).save_pretrained(folder)
    except OSError:  # the parent has none, so use the one that its config implies
        generation.save_pretrained(folder)
    verify(folder, loading["dtype"], before)


def verify(folder: Path, dtype: torch.dtype, before: dict[str, str]) -> None:
    """Check that ``folder`` has a complete model with finite weights that differ from ``before`` (`digests`).

    Raises:
        ValueError: If weights are missing, or do not belong to the model.
        FloatingPointError: If a weight is not finite.
        InputError: If no weight has changed.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    tuned, report = loaded
    wrong = {what: sorted(names) for what, names in report.items() if names}
    if wrong:
        raise ValueError(f"the trained weights do not fit the model: {wrong}")
    for name, parameter in tuned.named_parameters():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(f"the trained weights hold NaN or infinity ({name}): lower learning_rate")
    if digests(tuned) == before:
        raise InputError("training changed no weight: learning_rate is too small, or warmup_steps longer than the run")


def digests(model: torch.nn.Module) -> dict[str, str]:
    """Return a hash of each parameter's bits by name, so that changes can be found later without the model."""

    def digest(parameter: torch.Tensor) -> str:
        bits: Any = parameter.detach().contiguous().view(-1).view(torch.uint8).numpy()
        return hashlib.sha256(bits).hexdigest()  # releases Python's lock

    names, parameters = zip(*model.named_parameters(), strict=True)
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(digest, parameters), strict=True))


def _remove_all_but(folder: Path, endings: tuple[str, ...]) -> None:
    """Remove other files that the trainer writes: pickled arguments, a model card, copies of the tokenizer."""
    for file in folder.iterdir():
        if file.is_file() and not file.name.endswith(endings):
            file.unlink()
        elif file.is_dir() and file.name != ADAPTER:
            shutil.rmtree(file)
