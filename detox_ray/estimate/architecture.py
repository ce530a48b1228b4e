"""Architectures of models without weights, built on the meta device from a config to count parameters and activations.

Activations are counted, not guessed from a formula. One forward pass over shapes alone measures every tensor that
autograd would keep for the backward pass, so a new family needs no code here.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from detox_ray.config import ConfigError, InputError, LoraConfig, Problem

COUNTED = "counted_attention"  # the name under which transformers finds `_counted_attention`


class KeptActivations(NamedTuple):
    """Bytes that a forward pass keeps for the backward pass."""

    layers: tuple[int, ...]  # per decoder layer
    outside: int  # embeddings, final norm; without the head
    boundary: int  # hidden states between two layers

    @property
    def whole(self) -> int:
        """Return the bytes without gradient checkpointing."""
        return self.outside + sum(self.layers)

    @property
    def checkpointed(self) -> int:
        """Return the bytes with gradient checkpointing: each layer's input, and one layer while it is recomputed."""
        return self.outside + len(self.layers) * self.boundary + max(self.layers)


class Tuning(NamedTuple):
    """The fields of a train block that decide which parameters are trained."""

    lora: LoraConfig | None = None
    trainable: tuple[str, ...] | None = None  # patterns; None: all
    field: str = "trainable"  # named in messages


class Architecture:
    """A causal language model as training loads it, but without weights."""

    def __init__(self, config: dict[str, Any], tuning: Tuning | None = None, dtype: str = "float32"):
        import torch

        from detox_ray.models import layout

        self.config = _config(config)
        self.model = _build(self.config, dtype)
        self.bytes_each = torch.finfo(getattr(torch, dtype)).bits // 8
        self.parameters = sum(p.numel() for p in self.model.parameters())
        head = self.model.get_output_embeddings().weight
        self.head = head.numel()
        self.tied = layout.ends_are_tied(self.model)
        self.embedding = self.model.get_input_embeddings().weight.numel()
        self.largest = max(sum(p.numel() for p in m.parameters(recurse=False)) for m in self.model.modules())
        # QLoRA keeps linear layers in 4 bits, except for the head.
        self.linear = sum(
            m.weight.numel() for m in self.model.modules() if isinstance(m, layout.LINEAR) and m.weight is not head
        )
        _tune(self, tuning or Tuning())
        self.trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.largest_trained = max((p.numel() for p in self.model.parameters() if p.requires_grad), default=0)
        self.head_trained = head.requires_grad
        self._kept: dict[tuple[int, int], KeptActivations] = {}

    @property
    def mlp_width(self) -> int:
        """Return the neurons of a layer."""
        names = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
        return next((int(size) for name in names if (size := getattr(self.config, name, None))), 4 * self.width)

    @property
    def layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def vocabulary(self) -> int:
        return self.head // self.width

    @property
    def matrix_parameters(self) -> int:
        """Return the number of parameters that multiply every token: all but an embedding not tied to the head."""
        return self.parameters - (0 if self.tied else self.embedding)

    @property
    def attention_width(self) -> int:
        """Return the number of heads times the size of a head."""
        heads = int(self.config.num_attention_heads)
        return heads * int(getattr(self.config, "head_dim", None) or self.width // heads)

    @property
    def kv_elements_per_token(self) -> int:
        """Return the elements of the KV cache per token, over all layers."""
        heads = int(self.config.num_attention_heads)
        kv_heads = int(getattr(self.config, "num_key_value_heads", None) or heads)
        return 2 * self.layers * kv_heads * (self.attention_width // heads)

    @property
    def saved_dtype(self) -> str:
        """Return the dtype that the weights are saved in, as `detox_ray.models.codec`."""
        return str(self.config.dtype or "float32").removeprefix("torch.")

    def kept(self, rows: int, length: int) -> KeptActivations:
        """Return the activations of ``rows`` sequences of ``length`` tokens."""
        if (rows, length) not in self._kept:
            self._kept[rows, length] = _count(self, rows, length)
        return self._kept[rows, length]


@lru_cache(maxsize=32)
def _cached(config: str, tuning: str, dtype: str) -> Architecture:
    import json

    fields = json.loads(tuning)
    lora = LoraConfig.model_validate(fields["lora"]) if fields["lora"] else None
    patterns = None if fields["trainable"] is None else tuple(fields["trainable"])
    return Architecture(json.loads(config), Tuning(lora, patterns, fields["field"]), dtype)


def architecture(config: dict[str, Any], tuning: Tuning | None = None, dtype: str = "float32") -> Architecture:
    """Return the architecture of a config, cached because the search for advice builds the same ones many times."""
    import json

    tuning = tuning or Tuning()
    fields = {"lora": tuning.lora and tuning.lora.model_dump(), "trainable": tuning.trainable, "field": tuning.field}
    return _cached(json.dumps(config, sort_keys=True), json.dumps(fields, sort_keys=True), dtype)


def _config(content: dict[str, Any]) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = str(content.get("model_type"))
    if family not in CONFIG_MAPPING:
        raise InputError(f"config.json: model_type {family!r} is unknown to the installed transformers")
    return CONFIG_MAPPING[family].from_dict(content)


def _build(config: Any, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from detox_ray.models.families import attention_implementation

    saved = config.dtype  # from_config overwrites it
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=attention_implementation(config)
        )
    config.dtype = saved
    for module in model.modules():  # training turns dropout off; adapters, which are added later, keep theirs
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def _tune(built: Architecture, tuning: Tuning) -> None:
    """Freeze the parameters that are not trained, and add the adapter, which PEFT creates in float32."""
    if tuning.trainable is not None:
        from detox_ray.train.tuning import freeze

        freeze(built.model, list(tuning.trainable), tuning.field)
    if tuning.lora is not None:
        import peft
        import torch

        from detox_ray.train.adapter_targets import target_modules

        modules = target_modules(built.model, tuning.lora.target_modules, tuning.field)
        adapter = peft.LoraConfig(
            r=tuning.lora.r,
            lora_alpha=tuning.lora.alpha,
            lora_dropout=tuning.lora.dropout,
            target_modules=modules,
            task_type="CAUSAL_LM",
        )
        with torch.device("meta"):
            built.model = peft.get_peft_model(built.model, adapter, low_cpu_mem_usage=True)


def _counted_attention(module: Any, query: Any, key: Any, value: Any, _mask: Any, **_: Any) -> tuple[Any, None]:
    """Stand in for torch's fused attention: keep query, key, value, output and one float32 per query and head.

    Key and value are repeated for grouped queries, as transformers does if there is a mask, and TRL passes one.
    """
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            output = torch.empty_like(query)
            ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
            return output

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            raise AssertionError("what is saved for it is counted; it never runs")

    groups = getattr(module, "num_key_value_groups", 1)
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    return Fused.apply(query, key, value).transpose(1, 2).contiguous(), None


def _count(built: Architecture, rows: int, length: int) -> KeptActivations:
    """Run one forward pass over shapes, and sum the tensors that autograd saves, by the layer that is running."""
    import torch
    from transformers import AttentionInterface

    from detox_ray.models.layout import decoder_layers
    from detox_ray.models.transformers_internals import attention_in_use, use_attention

    AttentionInterface.register(COUNTED, _counted_attention)
    model = built.model
    backbone = (model.get_base_model() if hasattr(model, "peft_config") else model).base_model
    layers = decoder_layers(backbone, built.layers)
    if layers is None:
        rule = "its decoder layers cannot be found, so its activations cannot be counted"
        raise ConfigError([Problem("model_type", built.config.model_type, rule)])
    # Storages by id; keeping them alive keeps Python from reusing an id.
    weights = {id(storage): storage for storage in (p.untyped_storage() for p in model.parameters())}
    saved: dict[int, Any] = {}
    sizes = dict.fromkeys([-1, *range(built.layers)], 0)
    running = -1

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if id(storage) not in weights and id(storage) not in saved:
            saved[id(storage)] = storage
            sizes[running] += storage.nbytes()
        return tensor

    def enter(number: int) -> Any:
        def hook(*_: Any) -> None:
            nonlocal running
            running = number

        return hook

    hooks = [layer.register_forward_pre_hook(enter(number)) for number, layer in enumerate(layers)]
    hooks += [layer.register_forward_hook(enter(-1)) for layer in layers]
    attention = attention_in_use(backbone)
    if attention == "sdpa":
        use_attention(backbone, COUNTED)
    model.train()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ids = torch.zeros(rows, length, dtype=torch.long, device="meta")
            backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        use_attention(backbone, attention)
        for hook in hooks:
            hook.remove()
    boundary = rows * length * built.width * built.bytes_each
    return KeptActivations(tuple(sizes[number] for number in range(built.layers)), sizes[-1], boundary)
