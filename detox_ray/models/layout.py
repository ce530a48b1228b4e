"""Find the parts of a causal language model by inspecting the loaded model, so that a new family needs no entry here.

Imports torch.
"""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

LINEAR = (nn.Linear, Conv1D)  # Conv1D: GPT-2's linear layer, with the weight transposed
ADAPTABLE = (*LINEAR, nn.Embedding)  # layers on which PEFT puts a LoRA adapter


def ends_are_tied(model: Any) -> bool:
    """Return whether the input embedding and the head share one tensor. The model must have no adapter."""
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


def end_names(model: Any) -> tuple[str, str]:
    """Return the dotted names of the input embedding and of the head."""
    return name_of(model, model.get_input_embeddings()), name_of(model, model.get_output_embeddings())


def name_of(model: nn.Module, module: nn.Module) -> str:
    """Return the dotted name of ``module`` in ``model``."""
    return next(name for name, candidate in model.named_modules() if candidate is module)


def stores_weights_transposed(model: nn.Module) -> bool:
    """Return whether linear layers hold their weight as [inputs, outputs] (PEFT's fan_in_fan_out)."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def decoder_layers(backbone: nn.Module, count: int) -> nn.ModuleList | None:
    """Return the list of the ``count`` decoder layers; None if the backbone has no such list."""
    lists = (module for module in backbone.modules() if isinstance(module, nn.ModuleList))
    return next((layers for layers in lists if len(layers) == count), None)
