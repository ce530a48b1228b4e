"""Arithmetic in 16 bits with float32 weights, by DeepSpeed's autocast: docs/papers.md, "Training by Li et al."

With float16 the loss must be scaled up, because small gradients would vanish. Under ZeRO 1 to 3, DeepSpeed 0.19.8
compares the gradient with max_grad_norm, and reports its norm, before dividing by the scale. The first scale is 65,536,
so every step would be clipped. `UnscaleGradientNorm` corrects this. ZeRO 0 and bfloat16 have no such scale.

Only workers import this module.
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from detox_ray.config import TrainConfig
from detox_ray.train.deepspeed_internals import autocast_loss_scale, clip_scaled_gradients_at, divide_reported_norm_by


def section(config: TrainConfig) -> dict[str, Any]:
    """Return the part of the DeepSpeed configuration that turns autocast on; empty without autocast."""
    return {} if config.autocast is None else {"torch_autocast": {"enabled": True, "dtype": config.autocast}}


class UnscaleGradientNorm(TrainerCallback):
    """Makes DeepSpeed clip by, and report, the gradient's norm without the scale of the loss."""

    def __init__(self) -> None:
        self.trainer: Any = None  # set before training, because a trainer is constructed with its callbacks
        self._scale = 1.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        divide_reported_norm_by(self.trainer.model_wrapped, lambda: self._scale)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        engine = self.trainer.model_wrapped
        scale = autocast_loss_scale(engine)
        if scale is not None:
            self._scale = scale
            clip_scaled_gradients_at(engine, args.max_grad_norm * scale)
