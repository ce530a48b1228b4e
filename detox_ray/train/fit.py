"""One training, on one worker: load, train with TRL under DeepSpeed, evaluate; rank 0 saves the result.

Nothing here knows of Ray: the process group is open, and what outside must hear of (checkpoints, progress) goes through
the trainer's callbacks. Imported by workers only, after `cpu.before_imports`.
"""

import importlib.metadata
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from detox_ray.config import InputError
from detox_ray.train import data, methods, result
from detox_ray.train.place import Job, Place


def fit(
    job: Job, place: Place, callbacks: Sequence[TrainerCallback], resume_from: Path | None, restarts: int
) -> dict[str, Any] | None:
    """Train, and put the result's folder into the store. Every rank must call it.

    ``resume_from``: a local checkpoint folder; ``restarts``: how often this training was begun before. Rank 0 returns
    what the marker will say.
    """
    transformers.logging.set_verbosity_error()
    path = job.parent.local_path(job.store)
    tokenizer = AutoTokenizer.from_pretrained(path, **job.parent.loading())
    if tokenizer.eos_token is None:
        raise InputError(f"models.{job.parent.name}: its tokenizer has no end token, which training appends")
    split = data.split(
        job.store.read(*job.rows),
        lambda prompts: [len(ids) for ids in tokenizer(prompts)["input_ids"]],
        job.config.max_length,
        job.config.validation_fraction,
        place.world,
        job.config.batch_size,
        job.seed,
    )
    if place.local_rank == 0:
        shutil.rmtree(job.scratch, ignore_errors=True)  # of workers that were lost
        job.scratch.mkdir(mode=0o700)  # ours alone, or an error: what is read back from a checkpoint is trusted
    torch.distributed.barrier()
    trainer = methods.trainer(job, place, path, tokenizer, split, callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    engine = trainer.model_wrapped
    # TRL and accelerate fall back to plain DDP without a word where something is amiss.
    assert type(engine).__name__ == "DeepSpeedEngine", f"the model is wrapped in {type(engine).__name__}"

    evaluation = trainer.evaluate() if split.validation else {}
    written = job.scratch / "result"
    result.gather(trainer, job, path, written)
    info = None
    if place.rank == 0:
        info = _info(job, trainer, split, evaluation, restarts)
        result.finish(job, path, written)
    torch.distributed.barrier()
    return info


def _info(job: Job, trainer: Any, split: data.Split, evaluation: dict[str, float], restarts: int) -> dict[str, Any]:
    """What really ran, read off the engine and the trainer's state."""
    engine = trainer.model_wrapped
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in trainer.model.parameters()]
    names = {"loss": "loss", "rewards/margins": "reward_margin", "rewards/accuracies": "reward_accuracy",
             "learning_rate": "learning_rate", "grad_norm": "grad_norm", "epoch": "epoch"}  # fmt: skip
    log = [row for row in trainer.state.log_history if "loss" in row]
    peak = torch.cuda.max_memory_allocated() if job.gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "method": job.config.method,
        "tuning": job.config.tuning,
        "engine": type(engine).__name__,
        "zero_stage": engine.zero_optimization_stage(),
        "world_size": torch.distributed.get_world_size(),
        "backend": torch.distributed.get_backend(),
        "device": str(engine.device),
        "optimizer": type(optimizer).__name__,
        "steps": trainer.state.global_step,
        "pairs_train": len(trainer.train_dataset),
        "pairs_validation": len(split.validation),
        "pairs_dropped": split.dropped,
        "trainable_parameters": sum(size for size, trained in sizes if trained),
        "total_parameters": sum(size for size, _ in sizes),
        "log": [{"step": row["step"], **{ours: row[its] for its, ours in names.items() if its in row}} for row in log],
        "evaluation": {
            ours: evaluation[f"eval_{its}"]
            for its, ours in names.items()
            if its != "epoch" and f"eval_{its}" in evaluation
        },
        "restarts": restarts,
        "peak_memory_gb": round(peak / 2**30, 3),  # of one worker: the GPU's where there is one, else the process's
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "transformers", "trl", "deepspeed", "ray")},
    }
