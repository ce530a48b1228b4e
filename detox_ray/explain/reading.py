"""Statistics of every neuron of a model at chosen positions, computed without keeping the activations.

A hook before each down projection adds up the projection's input on the layer's own device: sums, squares and counts of
positive activations for all neurons, and sums per row for chosen neurons. A row's positions are those from which its
continuation is predicted: the prompt's last token, and all tokens of the continuation but the last. These are the
activations of the generation steps, obtained in one pass over the finished text.

Shapes: B rows, T tokens, L layers, N neurons of a layer, n chosen neurons of a layer, P all rows.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from detox_ray.config import InputError
from detox_ray.models.mlp import Mlps
from detox_ray.models.padding import padded_rows

Floats = NDArray[np.float64]


class Row(NamedTuple):
    """A prompt with a continuation, as token ids."""

    prompt: list[int]
    continuation: list[int]

    @property
    def steps(self) -> int:
        """Return the number of positions that are read."""
        return len(self.continuation)


class LayerReading(NamedTuple):
    """The statistics of one layer's neurons."""

    sums: Floats  # (N,), over all rows and steps
    squares: Floats  # (N,)
    positive: NDArray[np.int64]  # (N,), number of steps in which the activation is above 0
    row_sums: Floats  # (P, n), of the chosen neurons


class Reading(NamedTuple):
    """A model's readings over a set of rows, layer by layer."""

    layers: list[LayerReading]
    row_steps: NDArray[np.int64]  # (P,)

    @property
    def steps(self) -> int:
        """Return the total number of positions that were read."""
        return int(self.row_steps.sum())

    def means(self, layer: int) -> Floats:
        """Return the mean activation (N,) of a layer's neurons."""
        means: Floats = self.layers[layer].sums / max(1, self.steps)
        return means


class Reader:
    """Hooks on a model's down projections; a context manager that removes them.

    Args:
        mlps: the model's MLPs.
        chosen: neurons of each layer whose sums are kept per row.
    """

    def __init__(self, mlps: Mlps, chosen: Sequence[Sequence[int]]):
        assert len(chosen) == len(mlps)
        self._mlps = mlps
        self._chosen = [torch.tensor(list(indices), dtype=torch.long) for indices in chosen]
        self._totals: list[torch.Tensor | None] = [None] * len(mlps)  # (3, N): sums, squares, positive
        self._row_sums: list[list[torch.Tensor]] = [[] for _ in chosen]
        self._mask_BT = torch.empty(0)
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for layer, down in enumerate(self._mlps.downs):
            hook = lambda _, inputs, layer=layer: self._add(layer, inputs[0])  # noqa: E731
            self._handles.append(down.register_forward_pre_hook(hook))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def forward(self, ids_BT: torch.Tensor, attended_BT: torch.Tensor, read_BT: torch.Tensor) -> None:
        """Run the model on a batch and add the positions in ``read_BT`` (bool) to the statistics.

        Raises:
            InputError: A layer's down projection was not called.
        """
        self._mask_BT = read_BT
        with torch.inference_mode():
            self._mlps.network(input_ids=ids_BT, attention_mask=attended_BT, use_cache=False, logits_to_keep=1)
        missing = [layer for layer, total in enumerate(self._totals) if total is None]
        if missing:
            raise InputError(
                f"explain: the down projection of layer {missing[0]} was never called, so its neurons cannot be read. "
                "Fused MLP kernels bypass it: load the model without them"
            )

    def _add(self, layer: int, m_BTN: torch.Tensor) -> None:
        read_BT = self._mask_BT.to(m_BTN.device)
        kept_KN = m_BTN[read_BT].float()  # (K, N): the K positions that are read
        sums = kept_KN.sum(0, dtype=torch.float64)
        squares = kept_KN.square().sum(0, dtype=torch.float64)
        positive = (kept_KN > 0).sum(0, dtype=torch.float64)
        total = torch.stack([sums, squares, positive])
        before = self._totals[layer]
        self._totals[layer] = total if before is None else before + total
        chosen_BTn = m_BTN[..., self._chosen[layer].to(m_BTN.device)].double() * read_BT[..., None]
        self._row_sums[layer].append(chosen_BTn.sum(1))

    def layers(self, places: Sequence[int], rows: int) -> list[LayerReading]:
        """Return the statistics of each layer.

        Args:
            places: the index among all P rows of each row given to `forward`, in the order of the calls.
            rows: P. Rows that were not given to `forward` have sums of 0.
        """
        readings = []
        for total, parts in zip(self._totals, self._row_sums, strict=True):
            assert total is not None
            sums, squares, positive = total.cpu().numpy()
            row_sums = np.zeros((rows, parts[0].shape[1]))
            row_sums[list(places)] = torch.cat(parts).cpu().numpy()
            readings.append(LayerReading(sums, squares, positive.astype(np.int64), row_sums))
        return readings


def read(mlps: Mlps, rows: Sequence[Row], chosen: Sequence[Sequence[int]], pad: int, budget: int) -> Reading:
    """Read a model's neurons over rows, in batches of rows of similar length.

    Args:
        mlps: the model's MLPs.
        rows: the rows, of which at least one has a continuation.
        chosen: neurons of each layer whose sums are kept per row.
        pad: token id of the padding.
        budget: maximum number of tokens of a batch, padding included.
    """
    order = sorted((p for p in range(len(rows)) if rows[p].steps), key=lambda p: -len(rows[p].prompt) - rows[p].steps)
    # Nothing is read at the last token of a continuation, so the model need not see it.
    ids = [[*rows[p].prompt, *rows[p].continuation[:-1]] for p in order]
    device = mlps.network.get_input_embeddings().weight.device
    with Reader(mlps, chosen) as reader:
        begin = 0
        while begin < len(order):
            batch = range(begin, min(len(order), begin + max(1, budget // len(ids[begin]))))
            ids_BT, mask_BT = padded_rows([ids[at] for at in batch], pad, str(device))
            starts_B = torch.tensor([len(rows[order[at]].prompt) - 1 for at in batch], device=device)
            read_BT = mask_BT.bool() & (torch.arange(ids_BT.shape[1], device=device) >= starts_B[:, None])
            reader.forward(ids_BT, mask_BT, read_BT)
            begin = batch.stop
        layers = reader.layers(order, len(rows))
    return Reading(layers, np.array([row.steps for row in rows], dtype=np.int64))
