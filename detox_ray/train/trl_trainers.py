"""The trainer of each method: TRL's, with the train block's arguments, on rows that are already tokenised.

Only workers import this module.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import datasets
import torch
from transformers import TrainerCallback, set_seed
from trl import DPOConfig, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from detox_ray.config import TrainConfig
from detox_ray.train import autocast, deepspeed_config, deepspeed_cpu, fast_dpo, head_adapter, settings, tuning
from detox_ray.train.data_split import Split
from detox_ray.train.sft_term import SftTermDPOTrainer
from detox_ray.train.tokenization import Row
from detox_ray.train.training_job import TrainingJob, TrainWorker
from detox_ray.train.trl_internals import (
    CPOConfig,
    CPOTrainer,
    LeanCheckpointTrainer,
    ORPOConfig,
    ORPOTrainer,
    PretokenizedTrainer,
)

LOG_ROWS = 200  # approximate maximum of logged losses
OPTIMIZERS = {"rmsprop": "rmsprop", "adamw": "adamw_torch"}  # ours -> transformers' name
ROW = "row"  # column of datasets and batches: the row's index in its dataset


class _RowTracking(LeanCheckpointTrainer):
    """A trainer that records the rows of the current optimizer step."""

    _of_step: tuple[int, list[torch.Tensor]] = (-1, [])
    row_ids: list[str]  # ids of the training rows

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        numbers = inputs.pop(ROW)
        if model.training:
            if self._of_step[0] != self.state.global_step:
                self._of_step = (self.state.global_step, [])
            self._of_step[1].append(numbers)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def rows_of_step(self) -> list[str]:
        """Return pair_id or text_id of this rank's rows in the current or last optimizer step."""
        return [self.row_ids[number] for numbers in self._of_step[1] for number in numbers.tolist()]


class _DPO(_RowTracking, SftTermDPOTrainer):
    pass


class _FastDPO(_RowTracking, fast_dpo.FastDPOTrainer):
    pass


class _SFT(_RowTracking, SFTTrainer):
    pass


class _KTO(_RowTracking, PretokenizedTrainer, KTOTrainer):
    pass


class _ORPO(_RowTracking, PretokenizedTrainer, ORPOTrainer):
    pass


class _CPO(_RowTracking, PretokenizedTrainer, CPOTrainer):
    pass


TRAINERS: dict[str, tuple[Any, Any]] = {
    "dpo": (_DPO, DPOConfig),
    "sft": (_SFT, SFTConfig),
    "kto": (_KTO, KTOConfig),
    "orpo": (_ORPO, ORPOConfig),
    "cpo": (_CPO, CPOConfig),
}


class _Collator:
    """TRL's collator, extended to add the rows' indices to the batch."""

    def __init__(self, inner: Any):
        self._inner = inner

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        numbers = torch.tensor([row[ROW] for row in rows])
        return {**self._inner([{k: v for k, v in row.items() if k != ROW} for row in rows]), ROW: numbers}


def trainer(
    job: TrainingJob, worker: TrainWorker, path: str, tokenizer: Any, split: Split, callbacks: Sequence[TrainerCallback]
) -> Any:
    """Return a TRL trainer that is ready to train.

    Every rank must call this with all data. The trainer uses the rank's share.
    """
    config = job.config
    trainer_class, arguments_class = TRAINERS[config.method]
    batch = split.validation_batch
    if config.method == "kto":  # a pair has two rows, and a batch of one row cannot estimate the KL
        batch = batch if batch > 1 else 2
    rows = columns(split.train, config, config.batch_size, job.seed)
    held_out = columns(split.validation, config, batch, job.seed)
    train = datasets.Dataset.from_list(rows)
    steps = steps_of(config, len(train))
    extra: dict[str, Any] = {"sft_weight": config.sft_weight} if config.method == "dpo" else {}
    groups = settings.accumulation(config, worker.world_size)
    if config.reference == "cached" or config.batching == "length-grouped":
        plan = fast_dpo.plan(train, job, worker, steps)
        trainer_class = _FastDPO
        extra |= {"job": job, "worker": worker, "plan": plan}
        groups = plan.groups if plan else groups
    # Construct the arguments before the model is loaded, because ZeRO-3 shards the model while it loads.
    arguments = arguments_class(**_common_arguments(job, steps, groups, batch), **_method_arguments(config))
    set_seed(job.seed)  # for the adapter's initial values
    policy = tuning.policy(job, path)
    if (config.method == "dpo" and config.reference == "live") or config.method == "kto":
        extra["ref_model"] = tuning.reference(job, path)
    scale = [autocast.UnscaleGradientNorm()] if config.autocast == "float16" else []
    trainer = trainer_class(
        model=policy,
        args=arguments,
        train_dataset=train,
        eval_dataset=datasets.Dataset.from_list(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=tuning.adapter(job, policy),
        callbacks=[*scale, *callbacks],
        **extra,
    )
    for callback in scale:
        callback.trainer = trainer
    head_adapter.connect(trainer.model)
    trainer.row_ids = row_ids(split.train, config, job.seed)
    trainer.data_collator = _Collator(trainer.data_collator)
    return trainer


def columns(rows: Sequence[Row], config: TrainConfig, batch: int, seed: int) -> list[Row]:
    """Return the rows in the form of the method's collator, numbered.

    For kto, every pair becomes two rows, and rows are shuffled. TRL keeps their order, because each batch of ``batch``
    rows estimates its KL term from its own completions, each one moved to the next row's prompt.
    """
    if config.method == "kto":
        examples = _unpaired(rows, seed)
        for begin in range(0, len(examples), batch):
            part = examples[begin : begin + batch]
            for row, other in zip(part, [part[-1], *part[:-1]], strict=True):
                row["KL_completion_ids"] = other["completion_ids"]
    elif config.method in ("orpo", "cpo"):
        examples = [_labelled(row) for row in rows]
    else:
        examples = [dict(row) for row in rows]
    return [
        {**{name: value for name, value in row.items() if name not in _ids(config)}, ROW: number}
        for number, row in enumerate(examples)
    ]


def row_ids(rows: Sequence[Row], config: TrainConfig, seed: int) -> list[str]:
    """Return the id of each row that `columns` returns."""
    numbered = _unpaired(rows, seed) if config.method == "kto" else rows
    return [row.get("pair_id") or row["text_id"] for row in numbered]


def _ids(config: TrainConfig) -> tuple[str, ...]:
    """Return the columns to remove, which collators do not know. DPO needs pair_id, which its collator ignores."""
    return () if config.method == "dpo" else ("pair_id", "text_id")


def _unpaired(rows: Sequence[Row], seed: int) -> list[Row]:
    examples = [
        {
            "pair_id": row["pair_id"],
            "prompt_ids": row["prompt_ids"],
            "completion_ids": row[f"{side}_ids"],
            "label": side == "chosen",
        }
        for row in rows
        for side in ("chosen", "rejected")
    ]
    random.Random(seed).shuffle(examples)
    return examples


def _labelled(row: Row) -> Row:
    """Return the columns that the trainers of ORPO and CPO read, for both completions."""
    labelled: Row = {}
    for side in ("chosen", "rejected"):
        prompt, completion = row["prompt_ids"], row[f"{side}_ids"]
        labelled |= {
            f"{side}_input_ids": prompt + completion,
            f"{side}_attention_mask": [1] * (len(prompt) + len(completion)),
            f"{side}_labels": [-100] * len(prompt) + completion,
        }
    return labelled


def _method_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the method's arguments. Rows are already cut. The model's dropout is already off, but LoRA's stays on."""
    smoothing = {} if config.label_smoothing is None else {"label_smoothing": config.label_smoothing}
    arguments: dict[str, dict[str, Any]] = {
        "dpo": {
            "beta": config.beta,
            "loss_type": [config.loss],
            "max_length": None,
            "disable_dropout": False,
            "precompute_ref_log_probs": config.reference == "cached",
            **smoothing,
        },
        "sft": {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}},
        "kto": {
            "beta": config.beta,
            "loss_type": config.loss,
            "desirable_weight": config.desirable_weight,
            "undesirable_weight": config.undesirable_weight,
            "max_length": None,
            "disable_dropout": False,
        },
        "orpo": {"beta": config.beta, "max_length": config.max_length, "disable_dropout": False},
        "cpo": {
            "beta": config.beta,
            "loss_type": config.loss,
            "cpo_alpha": config.cpo_alpha,
            "simpo_gamma": config.simpo_gamma,
            "max_length": config.max_length,
            "disable_dropout": False,
            **smoothing,
        },
    }
    return arguments[config.method]


def _common_arguments(job: TrainingJob, steps: int, groups: int, validation_batch: int) -> dict[str, Any]:
    """Return transformers' arguments. Callbacks decide when to log, evaluate and save."""
    config = job.config
    extra = {} if job.gpu else deepspeed_cpu.prepare()
    return {
        "output_dir": str(job.scratch),
        "deepspeed": {**deepspeed_config.config_for(config, job.gpu), **autocast.section(config)},
        "seed": job.seed,
        "data_seed": job.seed,
        "optim": OPTIMIZERS[config.optimizer],
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.scheduler,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": validation_batch or config.batch_size,
        "gradient_accumulation_steps": groups,
        "gradient_checkpointing": config.gradient_checkpointing,
        "bf16": config.dtype == "bfloat16",
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": config.checkpoint_every,
        "logging_strategy": "steps",
        "logging_steps": max(1, steps // LOG_ROWS),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,  # otherwise the rows' numbers would be removed
        "dataloader_pin_memory": job.gpu,
        **extra,
    }


def steps_of(config: TrainConfig, rows: int) -> int:
    """Return the number of optimizer steps of a training on ``rows`` rows of the trainer's dataset."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-rows // (config.workers * config.batch_size))
    per_epoch = -(-batches // config.gradient_accumulation)
    return max(1, math.ceil(config.epochs * per_epoch))
