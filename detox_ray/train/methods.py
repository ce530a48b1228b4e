"""The trainer of each method: TRL's own, with the arguments that the train block stands for.

Imported by workers only.
"""

import math
from collections.abc import Sequence
from typing import Any

import datasets
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from detox_ray.config import TrainConfig
from detox_ray.train import cpu, data, head, tuning, zero
from detox_ray.train.place import Job, Place

LOG_ROWS = 200  # of the loss, at most about so many
OPTIMIZERS = {"rmsprop": "rmsprop", "adamw": "adamw_torch"}  # ours -> transformers' name


def trainer(
    job: Job, place: Place, path: str, tokenizer: Any, split: data.Split, callbacks: Sequence[TrainerCallback]
) -> Any:
    """A TRL trainer, ready to train. Every rank must call it, and gives it the whole data: it takes its share."""
    # Before the model is loaded: under ZeRO-3 it is sharded while it loads.
    arguments = _arguments(job, steps_of(job.config, len(split.train)), split.validation_batch)
    policy = tuning.policy(job, path)
    trainer = DPOTrainer(
        model=policy,
        ref_model=tuning.reference(job, path),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(split.train),
        eval_dataset=datasets.Dataset.from_list(split.validation) if split.validation else None,
        processing_class=tokenizer,
        peft_config=tuning.adapter(job, policy),
        callbacks=list(callbacks),
    )
    head.connect(trainer.model)
    return trainer


def _arguments(job: Job, steps: int, validation_batch: int) -> DPOConfig:
    config = job.config
    assert config.beta is not None  # dpo has one
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


def steps_of(config: TrainConfig, pairs: int) -> int:
    """Optimizer steps that training on ``pairs`` pairs takes."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-pairs // (config.workers * config.batch_size))
    per_epoch = -(-batches // config.gradient_accumulation)
    return max(1, math.ceil(config.epochs * per_epoch))
