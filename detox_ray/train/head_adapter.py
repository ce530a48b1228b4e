"""Adapters on embeddings and head that can be trained with TRL's fused head, tied weights and ZeRO-3.

TRL's DPO, SFT and KTO trainers multiply the last hidden states by the head's weight and never call the layer, so they
reject an adapter on it. But an adapter is a product of low rank: with head W [V, D], factors A [r, D] and B [V, r] and
scaling s, the logits of a hidden state h are W h + s B A h = [W, B] [h; s A h]. So `AdaptedHead` widens hidden states
and weight by the rank, and TRL's kernel computes exactly PEFT's function, including dropout of the adapter's input.

If input embedding and head are one tensor, they have one adapter: PEFT's on the embedding, E = W + s (B A). The
embedding reads rows of E, and the head multiplies by E. This adapter can be merged into the shared tensor again. Two
adapters could not, and vLLM loads some families (Gemma-2, Cohere) only with tied weights. PEFT's embedding adapters
have no dropout.

Only workers import this module. Shapes: B rows, T tokens, D width, V vocabulary, r rank.
"""

import functools
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Embedding
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from detox_ray.models.layout import name_of
from detox_ray.train.deepspeed_internals import gather_with, mark_as_whole

ADAPTER_NAME = "default"  # PEFT's name for the adapter that a trainer adds


class Factors(NamedTuple):
    """The parameters of an adapter, which are transposed if they are an embedding's (`tied`)."""

    first: nn.Parameter  # [r, D]; [D, r] if tied
    second: nn.Parameter  # [V, r]; [r, V] if tied
    scaling: float
    dropout: nn.Module
    tied: bool

    def lower(self, hidden: Tensor) -> Tensor:
        """Return the hidden states [..., D] multiplied by the first factor and scaled: [..., r]."""
        first = self.first.T if self.tied else self.first
        return linear(self.dropout(hidden).to(first.dtype), first) * self.scaling

    def columns(self) -> Tensor:
        """Return the columns by which the head's weight is widened: [V, r]."""
        return self.second.T if self.tied else self.second


class AdaptedHead(nn.Module):
    """The head and its adapter as one wider linear map, without its own parameters.

    It is a module so that ZeRO-3 gathers the parameters that it uses before its forward and backward passes.
    """

    def __init__(self, layer: BaseTunerLayer, plain: Any):
        super().__init__()
        self._layers = (layer, plain)  # in a tuple, because the parameters of submodules would get a second name
        self.fused = False  # whether TRL's fused forward is running
        self.widened: Any = None  # what that forward uses as the head
        factors = self.factors()
        gather_with(self, plain.weight, factors.first, factors.second)

    @property
    def on(self) -> bool:
        """Return whether the adapter is in use. The reference is the model without it."""
        return not self._layers[0].disable_adapters

    def factors(self) -> Factors:
        layer: Any = self._layers[0]
        scaling = layer.scaling[ADAPTER_NAME]
        if isinstance(layer, Embedding):
            first, second = layer.lora_embedding_B[ADAPTER_NAME], layer.lora_embedding_A[ADAPTER_NAME]
            return Factors(first, second, scaling, nn.Identity(), True)
        first, second = layer.lora_A[ADAPTER_NAME].weight, layer.lora_B[ADAPTER_NAME].weight
        return Factors(first, second, scaling, layer.lora_dropout[ADAPTER_NAME], False)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden states [..., D] widened to [..., D + r], and the head's weight widened to [V, D + r]."""
        factors, weight = self.factors(), self._layers[1].weight
        wide = torch.cat([hidden, factors.lower(hidden).to(hidden.dtype)], -1)
        return wide, torch.cat([weight, factors.columns().to(weight.dtype)], 1)

    def widen(self, backbone: nn.Module, inputs: Any, output: Any) -> Any:
        """Widen the last hidden states for TRL's fused forward. This is a forward hook of the backbone."""
        if self.fused:
            output.last_hidden_state, weight = self(output.last_hidden_state)
            mark_as_whole(weight)  # because TRL checks whether it must be gathered
            self.widened = SimpleNamespace(weight=weight, bias=self._layers[1].bias)
        return output

    def add_to_logits(self, head: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        """Add the adapter to the logits of a forward that is not TRL's. This is a forward hook of a tied head."""
        factors = self.factors()
        return logits + linear(factors.lower(inputs[0]), factors.columns()).to(logits.dtype) if self.on else logits


def show_without_adapter(model: Any) -> None:
    """Make TRL's check for an adapter on the head find the base layer. Call this before the adapter is added."""
    name = name_of(model, model.get_output_embeddings())

    def get_output_embeddings() -> Any:
        head = model.get_submodule(name)
        return head.get_base_layer() if isinstance(head, BaseTunerLayer) else head

    model.get_output_embeddings = get_output_embeddings


def connect(adapted: Any) -> None:
    """Make adapters on embeddings and head take effect in a trainer's model. Call this before training.

    Without such adapters, nothing is changed.
    """
    if not hasattr(adapted, "get_base_model"):
        return
    model = adapted.get_base_model()
    for module in model.modules():
        if isinstance(module, Embedding):  # ZeRO-3 does not notice the use of its parameters, which are in dictionaries
            factors = (module.lora_embedding_A[ADAPTER_NAME], module.lora_embedding_B[ADAPTER_NAME])
            gather_with(module, *factors)
    embedding, plain = model.get_input_embeddings(), model.get_output_embeddings()
    outer = next(m for m in model.modules() if m is plain or getattr(m, "base_layer", None) is plain)
    shared = isinstance(embedding, Embedding) and embedding.get_base_layer().weight is plain.weight
    layer = embedding if shared else outer
    if not isinstance(layer, BaseTunerLayer):
        return
    head = AdaptedHead(layer, plain)
    if shared:
        plain.register_forward_hook(head.add_to_logits)
        gather_with(plain, *head.factors()[:2])
    model.add_module("adapted_head", head)
    model.base_model.register_forward_hook(head.widen)
    model.get_output_embeddings = lambda: head.widened if head.fused else plain
    inner = model.forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        head.fused = bool(kwargs.get("fused_lm_head")) and head.on
        try:
            return inner(*args, **kwargs)
        finally:
            head.fused, head.widened = False, None

    model.forward = forward
