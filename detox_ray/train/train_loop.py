"""The training loop of one worker: load, train with TRL and DeepSpeed, return to the best step, save the result.

This module does not depend on Ray: the process group is already open, and the trainer's callbacks report checkpoints
and progress. Only workers import it, after `deepspeed_cpu.before_imports`.
"""

import importlib.metadata
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, TrainerCallback
from transformers.integrations.deepspeed import deepspeed_load_checkpoint
from transformers.trainer_callback import PrinterCallback

from detox_ray.train import data_split, kl_divergence, loss_curves, model_export, tokenization, trl_trainers
from detox_ray.train.deepspeed_internals import numel, offloaded_part, torch_optimizer
from detox_ray.train.evaluation_schedule import EvaluationSchedule
from detox_ray.train.nonfinite_check import stop_at_nonfinite
from detox_ray.train.training_job import TrainingJob, TrainWorker

CheckpointAt = Callable[[int], Path]  # returns the checkpoint of a step as a local folder


def run_train_loop(
    job: TrainingJob,
    worker: TrainWorker,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
    restarts: int,
    checkpoint_at: CheckpointAt | None = None,
) -> dict[str, Any] | None:
    """Train, and export the model (`model_export`), unless the job exports it later. Every rank must call this.

    Args:
        job: The training.
        worker: The calling worker.
        callbacks: Callbacks that are called after those that decide when to evaluate, save and stop.
        resume_from: A local checkpoint folder, or None.
        restarts: How often this training was started before.
        checkpoint_at: Returns the checkpoint of a step, if ``callbacks`` move checkpoints away from the scratch folder.

    Returns:
        The content of the result's marker on rank 0; None on the others.
    """
    transformers.logging.set_verbosity_error()
    path = job.parent.local_path(job.store)
    tokenizer = AutoTokenizer.from_pretrained(path, **job.parent.loading())
    field = f"models.{job.name}.train"
    model_config = AutoConfig.from_pretrained(path, **job.parent.loading())
    tokenization.check(tokenizer, model_config, job.parent.name, field, job.config.max_length)
    split = data_split.split(job.store.read(*job.rows), tokenizer, job.config, job.config.workers, field)
    if worker.local_rank == 0:
        for folder in (job.scratch, job.result):
            shutil.rmtree(folder, ignore_errors=True)  # left by lost workers
        job.scratch.mkdir(
            mode=0o700
        )  # no other user may write there, because checkpoints that are read back are trusted
    torch.distributed.barrier()
    config, validated = job.config, bool(split.validation)
    schedule = EvaluationSchedule(validated, config.evaluate_every, config.early_stopping, config.keep == "best")
    measured = validated and kl_divergence.unmeasured(config) is None
    kl = [kl_divergence.MeasureKL(split.validation)] if measured else []
    trainer = trl_trainers.trainer(job, worker, path, tokenizer, split, [*kl, schedule, *callbacks])
    for callback in kl:
        callback.trainer = trainer
    stop_at_nonfinite(trainer, gradients=config.autocast != "float16")
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    engine = trainer.model_wrapped
    # TRL and accelerate silently fall back to plain DDP if a requirement is missing.
    assert type(engine).__name__ == "DeepSpeedEngine", f"the model is wrapped in {type(engine).__name__}"

    ended = loss_curves.ending(trainer.state.log_history, trainer.state.global_step, trainer.state.max_steps, config)
    if ended["kept_step"] != trainer.state.global_step:
        folder = (checkpoint_at or _in_scratch(job))(ended["kept_step"])
        deepspeed_load_checkpoint(engine, str(folder), load_module_strict=config.tuning == "full")
    model_export.save_weights(trainer, job, path)
    info = None
    if worker.rank == 0:
        info = {**_info(job, trainer, split, restarts), **ended, **_curves(job, trainer, ended["kept_step"], validated)}
        if not job.exports_later:
            model_export.export(job)
    torch.distributed.barrier()
    return info


def _in_scratch(job: TrainingJob) -> CheckpointAt:
    """Return a function that finds a checkpoint in the folder where the trainer saves them."""
    return lambda step: job.scratch / f"checkpoint-{step}"


def _curves(job: TrainingJob, trainer: Any, kept_step: int, validated: bool) -> dict[str, Any]:
    """Return the rows of training and evaluations, the evaluation of the kept step, and the divergence's status."""
    log, config = trainer.state.log_history, job.config
    validation = loss_curves.validation(log, config)
    kept = next((row for row in validation if row["step"] == kept_step), {})
    reason = kl_divergence.unmeasured(config) if validated else "there are no validation rows"
    return {
        "log": loss_curves.training(log, config),
        "validation": validation,
        "evaluation": {name: value for name, value in kept.items() if name not in ("step", "epoch")},
        "kl_to_parent": {"status": "ok"} if reason is None else {"status": "not measured", "reason": reason},
    }


def _info(job: TrainingJob, trainer: Any, split: data_split.Split, restarts: int) -> dict[str, Any]:
    """Return the facts of the training, from the engine and the trainer's state instead of the settings."""
    engine = trainer.model_wrapped
    sizes = [(numel(parameter), parameter.requires_grad) for parameter in trainer.model.parameters()]
    peak = torch.cuda.max_memory_allocated() if job.gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "method": job.config.method,
        "tuning": job.config.tuning,
        "engine": type(engine).__name__,
        "zero_stage": engine.zero_optimization_stage(),
        "offload": offloaded_part(engine),
        "world_size": torch.distributed.get_world_size(),
        "backend": torch.distributed.get_backend(),
        "device": str(engine.device),
        "optimizer": type(torch_optimizer(engine)).__name__,
        "steps": trainer.state.global_step,
        "rows_train": len(split.train),
        "rows_validation": len(split.validation),
        "rows_left_out": split.dropped,
        "trainable_parameters": sum(size for size, trained in sizes if trained),
        "total_parameters": sum(size for size, _ in sizes),
        "restarts": restarts,
        "peak_memory_gb": round(peak / 2**30, 3),  # of one worker: of its GPU or, without one, of its process
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "transformers", "trl", "deepspeed", "ray")},
    }
