"""One training, on one worker: load, train with TRL under DeepSpeed, go back to the best step; rank 0 saves the result.

Nothing here knows of Ray: the process group is open, and what outside must hear of (checkpoints, progress) goes through
the trainer's callbacks. Imported by workers only, after `cpu.before_imports`.
"""

import importlib.metadata
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
from detox_ray.train.nonfinite_check import watch
from detox_ray.train.training_job import TrainingJob, WorkerRank

CheckpointAt = Callable[[int], AbstractContextManager[Path]]  # opens the checkpoint of a step as a local folder


def fit(
    job: TrainingJob,
    place: WorkerRank,
    callbacks: Sequence[TrainerCallback],
    resume_from: Path | None,
    restarts: int,
    checkpoint_at: CheckpointAt | None = None,
) -> dict[str, Any] | None:
    """Train, and put the result's folder into the store. Every rank must call it.

    ``resume_from``: a local checkpoint folder; ``restarts``: how often this training was begun before;
    ``checkpoint_at``: where ``callbacks`` take the checkpoints elsewhere, how to get one back. Rank 0 returns what the
    marker will say.
    """
    transformers.logging.set_verbosity_error()
    path = job.parent.local_path(job.store)
    tokenizer = AutoTokenizer.from_pretrained(path, **job.parent.loading())
    field = f"models.{job.name}.train"
    model_config = AutoConfig.from_pretrained(path, **job.parent.loading())
    tokenization.check(tokenizer, model_config, job.parent.name, field, job.config.max_length)
    split = data_split.split(job.store.read(*job.rows), tokenizer, job.config, job.config.workers, field)
    if place.local_rank == 0:
        shutil.rmtree(job.scratch, ignore_errors=True)  # of workers that were lost
        job.scratch.mkdir(mode=0o700)  # ours alone, or an error: what is read back from a checkpoint is trusted
    torch.distributed.barrier()
    config, validated = job.config, bool(split.validation)
    rhythm = EvaluationSchedule(validated, config.evaluate_every, config.early_stopping, config.keep == "best")
    measured = validated and kl_divergence.unmeasured(config) is None
    kl = [kl_divergence.MeasureKL(split.validation)] if measured else []
    trainer = trl_trainers.trainer(job, place, path, tokenizer, split, [*kl, rhythm, *callbacks])
    for each in kl:
        each.trainer = trainer
    watch(trainer, gradients=config.autocast != "float16")
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    engine = trainer.model_wrapped
    # TRL and accelerate fall back to plain DDP without a word where something is amiss.
    assert type(engine).__name__ == "DeepSpeedEngine", f"the model is wrapped in {type(engine).__name__}"

    ended = loss_curves.ending(trainer.state.log_history, trainer.state.global_step, trainer.state.max_steps, config)
    if ended["kept_step"] != trainer.state.global_step:
        with (checkpoint_at or _in_scratch(job))(ended["kept_step"]) as folder:
            deepspeed_load_checkpoint(engine, str(folder), load_module_strict=config.tuning == "full")
    written = job.scratch / "result"
    model_export.gather(trainer, job, path, written)
    info = None
    if place.rank == 0:
        info = {**_info(job, trainer, split, restarts), **ended, **_curves(job, trainer, ended["kept_step"], validated)}
        model_export.finish(job, path, written)
    torch.distributed.barrier()
    return info


def _in_scratch(job: TrainingJob) -> CheckpointAt:
    """Where the trainer leaves checkpoints if nobody takes them."""

    @contextmanager
    def checkpoint_at(step: int) -> Iterator[Path]:
        yield job.scratch / f"checkpoint-{step}"

    return checkpoint_at


def _curves(job: TrainingJob, trainer: Any, kept_step: int, validated: bool) -> dict[str, Any]:
    """The training's and the evaluations' rows, the kept step's evaluation, and whether the divergence was measured."""
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
    """What really ran, read off the engine and the trainer's state."""
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
        "peak_memory_gb": round(peak / 2**30, 3),  # of one worker: the GPU's where there is one, else the process's
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "transformers", "trl", "deepspeed", "ray")},
    }
