"""What each Ray Train worker runs: load, train with TRL under DeepSpeed, evaluate; rank 0 saves the result.

Heavy imports are inside `run`, after `cpu.before_imports`.
"""

import getpass
import math
import os
import re
import resource
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from detox_ray.config import InputError, TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.store import Store, Unit, key_of
from detox_ray.train import cpu, data, settings, zero

if TYPE_CHECKING:
    from torch import nn
    from trl.trainer import DPOConfig, DPOTrainer

LOG_ROWS = 200  # of the loss, at most about so many
OPTIMIZERS = {"rmsprop": "rmsprop", "adamw": "adamw_torch"}  # ours -> transformers' name


class Job(NamedTuple):
    """One training, as every worker gets it."""

    name: str  # of the model in the experiment
    key: str
    config: TrainConfig
    parent: LoadableModel
    pairs: tuple[Unit, str]
    seed: int  # the effective one
    store: Store
    gpu: bool

    @property
    def folder(self) -> str:
        """In the store: Ray Train's state, until the result is committed."""
        return f"training/{self.name}-{self.key}"

    @property
    def scratch(self) -> Path:
        """Local folder of this node for what is on its way to the store. The next call finds it again and clears it."""
        who = key_of(store=self.store.uri, name=self.name, key=self.key, user=getpass.getuser())
        return Path(tempfile.gettempdir()) / f"detox-ray-training-{who}"


def run(given: dict[str, Any]) -> Any:
    """Entry of every worker. Rank 0 returns what its marker will say; an error that would recur goes to the board."""
    import ray.train

    job, board = given["job"], given["board"]
    if ray.get(board.state.remote()).error is not None:
        return None
    try:
        return _train(job, board)
    except (RuntimeError, OSError, ray.exceptions.RayError):
        raise  # also what survivors see when another worker is lost: worth another try
    except Exception as error:
        explains_itself = isinstance(error, (InputError, FloatingPointError))
        detail = str(error) if explains_itself else "".join(traceback.format_exception(error))
        ray.get(board.fail.remote(isinstance(error, InputError), detail))
        raise
    finally:
        if ray.train.get_context().get_local_rank() == 0:
            shutil.rmtree(job.scratch, ignore_errors=True)


def _train(job: Job, board: Any) -> dict[str, Any] | None:
    if not job.gpu:
        cpu.before_imports()
    os.environ["TQDM_DISABLE"] = "1"
    import ray.train
    import torch.distributed
    import transformers
    from transformers import AutoTokenizer

    from detox_ray.train import result

    transformers.logging.set_verbosity_error()
    rank = ray.train.get_context().get_world_rank()
    local = ray.train.get_context().get_local_rank() == 0
    starts = _count_start(job) if rank == 0 else 0

    path = job.parent.local_path(job.store)
    tokenizer = AutoTokenizer.from_pretrained(path, **job.parent.loading())
    if tokenizer.eos_token is None:
        raise InputError(f"models.{job.parent.name}: its tokenizer has no end token, which training appends")
    split = data.split(
        job.store.read(*job.pairs),
        lambda prompts: [len(ids) for ids in tokenizer(prompts)["input_ids"]],
        job.config.max_length,
        job.config.validation_fraction,
        job.config.workers,
        job.config.batch_size,
        job.seed,
    )
    if local:
        shutil.rmtree(job.scratch, ignore_errors=True)  # of workers that were lost
        job.scratch.mkdir(mode=0o700)  # ours alone, or an error: what is read back from a checkpoint is trusted
    torch.distributed.barrier()
    trainer = _trainer(job, board, rank, path, tokenizer, split)

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        trainer.train()
    else:
        with checkpoint.as_directory() as folder:
            trainer.train(resume_from_checkpoint=folder)
    engine = trainer.model_wrapped
    # TRL and accelerate fall back to plain DDP without a word where something is amiss.
    assert type(engine).__name__ == "DeepSpeedEngine", f"the model is wrapped in {type(engine).__name__}"

    evaluation = trainer.evaluate() if split.validation else {}
    written = job.scratch / "result"
    result.gather(trainer, job, path, written)
    if rank != 0:
        torch.distributed.barrier()
        return None
    info = _info(job, trainer, split, evaluation, starts - 1)
    result.finish(job, path, written)
    torch.distributed.barrier()
    return info


def _count_start(job: Job) -> int:
    """How many times this training has been started, by Ray Train or by another driver; this one included."""
    file = f"{job.folder}/starts.json"
    starts = (job.store.read_json(file) if job.store.exists(file) else 0) + 1
    job.store.write_json(file, starts)
    return starts


def _arguments(job: Job, steps: int, validation_batch: int) -> "DPOConfig":
    from trl import DPOConfig

    config = job.config
    extra = {} if job.gpu else cpu.prepare()
    return DPOConfig(
        output_dir=str(job.scratch),
        deepspeed=zero.complete(zero.read(config.deepspeed)),
        seed=job.seed,
        data_seed=job.seed,
        beta=config.beta,
        max_length=config.max_length,
        disable_dropout=False,  # done below, where LoRA's own dropout is kept
        optim=OPTIMIZERS[config.optimizer],
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=validation_batch or config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=config.dtype == "bfloat16",
        eval_strategy="no",
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        logging_strategy="steps",
        logging_steps=max(1, steps // LOG_ROWS),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=job.gpu,
        **extra,
    )


def _trainer(job: Job, board: Any, rank: int, path: str, tokenizer: Any, split: data.Split) -> "DPOTrainer":
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOTrainer
    from trl.trainer.utils import disable_dropout_in_model

    from detox_ray.train.callbacks import NoteProgress, ReportCheckpoints

    config = job.config
    # Before the model is loaded: under ZeRO-3 it is sharded while it loads.
    arguments = _arguments(job, steps_of(config, len(split.train)), split.validation_batch)
    loading = {**job.parent.loading(), "dtype": getattr(torch, config.dtype)}
    model = AutoModelForCausalLM.from_pretrained(path, **loading)
    # The reference's dropout must be off, so the policy's too, or their ratio is noise (TRL's default).
    disable_dropout_in_model(model)
    adapter = reference = None
    if config.tuning == "lora":  # the reference is the model with its adapter off
        lora = settings.lora_of(config)
        adapter = LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules,
            bias="none",
            task_type="CAUSAL_LM",
        )
    else:
        if config.trainable is not None:
            freeze(model, config.trainable, f"models.{job.name}.train.trainable")
        reference = AutoModelForCausalLM.from_pretrained(path, **loading)
        disable_dropout_in_model(reference)
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(split.train),
        eval_dataset=datasets.Dataset.from_list(split.validation) if split.validation else None,
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[ReportCheckpoints(), NoteProgress(board, rank)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def steps_of(config: TrainConfig, pairs: int) -> int:
    """Optimizer steps that training on ``pairs`` pairs takes."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-pairs // (config.workers * config.batch_size))
    per_epoch = -(-batches // config.gradient_accumulation)
    return max(1, math.ceil(config.epochs * per_epoch))


def freeze(model: "nn.Module", patterns: list[str], field: str) -> None:
    """Train only the parameters whose name one of ``patterns`` finds (re.search).

    Tied weights are one parameter, with the name under which the model lists it first (usually the input embedding).
    Raises InputError naming ``field`` where a pattern finds none.
    """
    names = [name for name, _ in model.named_parameters()]
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(names)
    for pattern in patterns:
        if any(re.search(pattern, name) for name in names):
            continue
        shared = [name for name in sorted(tied) if re.search(pattern, name)]
        because = f"; {shared[0]} is tied to another parameter: name that one" if shared else ""
        raise InputError(f"{field}: {pattern!r} finds no parameter{because} (there are {', '.join(names[:4])}, …)")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(re.search(pattern, name) for pattern in patterns))


def _info(job: Job, trainer: Any, split: data.Split, evaluation: dict[str, float], restarts: int) -> dict[str, Any]:
    """What really ran, read off the engine and the trainer's state."""
    import importlib.metadata

    import torch

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
