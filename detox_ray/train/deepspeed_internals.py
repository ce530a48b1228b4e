"""The parts of DeepSpeed that are used beyond its public interface, as read in DeepSpeed 0.19.8.

Only workers import this module.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled


def use_plain_gloo() -> None:
    """Turn off DeepSpeed's shared-memory collective, which is compiled on first use. Gloo needs no compiler."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def gather_with(module: nn.Module, *parameters: nn.Parameter) -> None:
    """Under ZeRO-3, gather parameters that belong to other modules while ``module`` runs."""
    if is_deepspeed_zero3_enabled():
        from deepspeed.runtime.zero import register_external_parameter

        for parameter in parameters:
            register_external_parameter(module, parameter)


def mark_as_whole(weight: torch.Tensor) -> None:
    """Under ZeRO-3, mark a tensor that is not a parameter of the model as one that need not be gathered."""
    if is_deepspeed_zero3_enabled():
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        weight.ds_status = ZeroParamStatus.AVAILABLE  # type: ignore[attr-defined]


def numel(parameter: nn.Parameter) -> int:
    """Return the full size of a parameter, even if ZeRO-3 holds only a part of it on this rank."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def torch_optimizer(engine: Any) -> Any:
    """Return the torch optimizer within the engine's optimizer."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def autocast_loss_scale(engine: Any) -> float | None:
    """Return the factor by which DeepSpeed's autocast scales the loss; None without scaling."""
    scaler = getattr(engine.optimizer, "torch_autocast_gradscaler", None)
    return None if scaler is None else float(scaler.get_scale())


def clip_scaled_gradients_at(engine: Any, norm: float) -> None:
    """Make the optimizer clip gradients, which include the scale of the loss, at this norm."""
    engine.optimizer.clip_grad = norm


def divide_reported_norm_by(engine: Any, scale: Callable[[], float]) -> None:
    """Make the engine report the gradient's norm divided by the current value of ``scale``."""
    scaled_norm = engine.get_global_grad_norm
    engine.get_global_grad_norm = lambda: None if scaled_norm() is None else scaled_norm() / scale()


def offloaded_part(engine: Any) -> str | None:
    """Return which part DeepSpeed keeps outside the device, as the train block calls it; None without offloading."""
    parts = {"parameters": engine.zero_offload_param(), "optimizer": engine.zero_offload_optimizer()}
    return next((name for name, part in parts.items() if part is not None and part.device != "none"), None)
