"""What is used of DeepSpeed beyond its public interface, as read in DeepSpeed 0.19.8. Imported by workers only."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled


def use_plain_gloo() -> None:
    """Switch DeepSpeed's shared-memory collective off, which is compiled on first use: gloo needs no compiler."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def gather_with(module: nn.Module, *parameters: nn.Parameter) -> None:
    """Under ZeRO-3, have parameters that belong to other modules whole while ``module`` runs."""
    if is_deepspeed_zero3_enabled():
        from deepspeed.runtime.zero import register_external_parameter

        for parameter in parameters:
            register_external_parameter(module, parameter)


def mark_as_whole(weight: torch.Tensor) -> None:
    """Under ZeRO-3, tell whoever asks that a tensor which is no parameter of the model need not be gathered."""
    if is_deepspeed_zero3_enabled():
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        weight.ds_status = ZeroParamStatus.AVAILABLE  # type: ignore[attr-defined]


def numel(parameter: nn.Parameter) -> int:
    """Return a parameter's whole size, of which ZeRO-3 may hold a part on this rank."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def torch_optimizer(engine: Any) -> Any:
    """Return torch's optimizer inside the engine's."""
    return getattr(engine.optimizer, "optimizer", engine.optimizer)


def autocast_loss_scale(engine: Any) -> float | None:
    """Return the factor by which DeepSpeed's autocast scales the loss; None if nothing scales it."""
    scaler = getattr(engine.optimizer, "torch_autocast_gradscaler", None)
    return None if scaler is None else float(scaler.get_scale())


def clip_scaled_gradients_at(engine: Any, norm: float) -> None:
    """Let the optimizer clip by this norm of the gradients as they are held, with the loss's scale in them."""
    engine.optimizer.clip_grad = norm


def divide_reported_norm_by(engine: Any, scale: Callable[[], float]) -> None:
    """Let the engine report the gradient's norm divided by what ``scale`` returns then."""
    scaled_norm = engine.get_global_grad_norm
    engine.get_global_grad_norm = lambda: None if scaled_norm() is None else scaled_norm() / scale()


def offloaded_part(engine: Any) -> str | None:
    """Return what DeepSpeed keeps outside the device, in the train block's words; None if nothing."""
    parts = {"parameters": engine.zero_offload_param(), "optimizer": engine.zero_offload_optimizer()}
    return next((name for name, part in parts.items() if part is not None and part.device != "none"), None)
