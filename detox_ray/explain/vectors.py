"""Value vectors: the ones that point along a probe, the tokens they write, and random partners for comparison.

Vectors are processed one layer at a time, in float32 whatever the type of the weights: the value vectors of all layers
of a 70B model take 38 GB.

Shapes: L layers, N neurons of a layer, D width, V vocabulary, K chosen vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron

Floats = NDArray[np.float64]


class Candidate(NamedTuple):
    """A value vector that points along the probe."""

    layer: int
    row: int  # index in the layer's value vectors
    cosine: float

    @property
    def neuron(self) -> Neuron:
        return self.layer, self.row


class LayerVectors(NamedTuple):
    """A layer's value vectors relative to a direction."""

    projections: Floats  # (N,), on the unit direction
    norms: Floats  # (N,)

    @property
    def cosines(self) -> Floats:
        """Return (N,) cosines with the direction; 0 if a vector is zero."""
        cosines: Floats = np.divide(self.projections, self.norms, np.zeros_like(self.norms), where=self.norms > 0)
        return cosines


def layer_vectors(mlps: Mlps, layer: int, direction_D: Floats) -> LayerVectors:
    """Return the projections and norms of one layer's value vectors."""
    values_ND = mlps.value_vectors(layer).float()
    unit_D = torch.tensor(direction_D / np.linalg.norm(direction_D), dtype=torch.float32, device=values_ND.device)
    projections, norms = (values_ND @ unit_D).cpu(), values_ND.norm(dim=1).cpu()
    return LayerVectors(projections.double().numpy(), norms.double().numpy())


def rank(layers: Sequence[LayerVectors], most: int, per_layer: int | None = None) -> list[Candidate]:
    """Return the value vectors with the highest signed cosines; vectors of the opposite direction rank last.

    Args:
        layers: the vectors of all layers.
        most: number of vectors to return.
        per_layer: maximum number of vectors of a layer, as in the scripts of Lee et al. and of Yang et al.
    """
    candidates = []
    for layer, vectors in enumerate(layers):
        cosines = vectors.cosines
        best = np.argsort(-cosines, kind="stable")[: min(most, per_layer or most)]
        candidates += [Candidate(layer, int(index), float(cosines[index])) for index in best]
    return sorted(candidates, key=lambda candidate: -candidate.cosine)[:most]


def partners(candidates: Sequence[Candidate], sizes: Sequence[int], draws: int, seed: int) -> list[list[int]]:
    """Return for each candidate ``draws`` random neurons of its layer that are not candidates.

    The first partners of all candidates form one draw, the second partners another, and so on. A draw holds no neuron
    twice, unless nearly all neurons of a layer are candidates.
    """
    rng = np.random.default_rng(seed)
    chosen: list[list[int]] = [[] for _ in candidates]
    for layer, size in enumerate(sizes):
        places = [place for place, candidate in enumerate(candidates) if candidate.layer == layer]
        others = np.setdiff1d(np.arange(size), [candidates[place].row for place in places])
        if not places:
            continue
        for _ in range(draws):
            drawn = rng.choice(others, len(places), replace=len(others) < len(places))
            for place, index in zip(places, drawn, strict=True):
                chosen[place].append(int(index))
    return chosen


class LensTokens(NamedTuple):
    """The tokens that a vector writes most strongly."""

    ids: list[int]
    scores: list[float]  # logits that one unit of activation adds


def lens(mlps: Mlps, neurons: Sequence[Neuron], tokens: int) -> list[LensTokens]:
    """Return the top tokens of each value vector under the unembedding, without final norm and bias."""
    unembedding_VD = mlps.unembedding()
    lens_tokens = []
    for layer, index in neurons:
        v_D = mlps.value_vectors(layer)[index].to(unembedding_VD)
        top = (unembedding_VD @ v_D).float().topk(min(tokens, unembedding_VD.shape[0]))
        lens_tokens.append(LensTokens(top.indices.tolist(), top.values.tolist()))
    return lens_tokens
