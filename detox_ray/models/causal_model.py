"""A causal language model on this process's device, and the likelihoods that it gives to rows of token ids.

Negative log-likelihoods are in nats. The log-softmax is computed in float32 and summed in float64.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detox_ray.models.codec import Codec
from detox_ray.models.device import device
from detox_ray.models.families import attention_implementation
from detox_ray.models.padding import padded_rows
from detox_ray.models.transformers_internals import import_without_sklearn

if TYPE_CHECKING:
    import torch


class CausalModel:
    """A causal language model with its codec, in evaluation mode.

    Args:
        path: Folder or hub id.
        loading: Keyword arguments for every from_pretrained call (`LoadableModel.loading`).
        dtype: "auto" (as the weights are saved), "float32", …
        gpus: If above 1, the layers are spread over all GPUs that this process sees.
        on_host: Whether the model stays in the host's memory, to read its weights.
    """

    def __init__(self, path: str, loading: dict[str, Any], dtype: str, gpus: int = 1, on_host: bool = False):
        import_without_sklearn()
        from transformers import AutoModelForCausalLM

        self.codec = Codec(path, loading)
        self.device = device()
        network = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation=attention_implementation(self.codec.config),
            device_map="auto" if gpus > 1 else None,
            **loading,
        )
        self.network: Any = network.eval() if on_host or gpus > 1 else network.eval().to(self.device.kind)

    def nll(self, rows: Sequence[Sequence[int]], given: int = 1) -> list[float]:
        """Return each row's negative log-likelihood in nats, summed over all tokens after the first ``given``."""
        import torch

        ids_BT, mask_BT = padded_rows(rows, self.codec.pad, self.device.kind)
        with torch.inference_mode():
            logits_BTV = self.network(input_ids=ids_BT, attention_mask=mask_BT).logits[:, :-1]
            return summed_nll(logits_BTV, ids_BT[:, 1:], mask_BT[:, 1:], given - 1)


def summed_nll(
    logits_BTV: "torch.Tensor", labels_BT: "torch.Tensor", mask_BT: "torch.Tensor", skipped: int = 0
) -> list[float]:
    """Return the negative log-likelihood of each row's labels, except padding and the first ``skipped`` labels.

    Args:
        logits_BTV: Logits; position t predicts label t.
        labels_BT: Token ids.
        mask_BT: 0 at padding, else 1.
        skipped: Number of labels at the start of each row that do not count.
    """
    import torch

    logits_NV = logits_BTV.float().flatten(0, 1)  # N = B·T: twice as fast on a CPU as the classes in the middle
    nll_BT = torch.nn.functional.cross_entropy(logits_NV, labels_BT.flatten(), reduction="none").view(labels_BT.shape)
    return (nll_BT.double() * mask_BT)[:, skipped:].sum(-1).tolist()
