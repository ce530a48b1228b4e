"""Overlaps of the neurons that write most toxicity in each language.

A neuron's contribution in a language is its mean activation there times its value vector's projection on the probe. The
projection is the same in all languages, so two languages overlap even if their activations have nothing in common.
The chance level keeps the projections and shuffles each language's activations among the neurons of a layer.

Shapes: N all neurons, K chosen neurons, G languages.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.explain.tables import LANGUAGE_OVERLAPS

Floats = NDArray[np.float64]


def strongest(means: Sequence[Floats], projections: Sequence[Floats], count: int) -> frozenset[int]:
    """Return the indices, counted over all layers, of the neurons that write most along the probe."""
    parts_N = np.concatenate([m * a for m, a in zip(means, projections, strict=True)])
    return frozenset(np.argsort(-parts_N, kind="stable")[:count].tolist())


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Return the share of the neurons of either set that are in both."""
    return len(one & other) / len(one | other)


def overlap_rows(
    means: Mapping[str, Sequence[Floats]], projections: Sequence[Floats], count: int, seed: int, draws: int = 20
) -> pa.Table:
    """Return LANGUAGE_OVERLAPS of one model.

    Args:
        means: language -> mean activations of each layer's neurons.
        projections: projections of each layer's value vectors on the probe.
        count: number of neurons chosen in each language.
        seed: seed of the shuffles.
        draws: number of shuffles.
    """
    chosen = {language: strongest(layers, projections, count) for language, layers in means.items()}
    rng = np.random.default_rng([seed, count])
    shuffled = [
        {
            language: strongest([rng.permutation(layer) for layer in layers], projections, count)
            for language, layers in means.items()
        }
        for _ in range(draws)
    ]
    rows = [
        {
            "language": one,
            "other": other,
            "neurons": count,
            "jaccard": jaccard(chosen[one], chosen[other]),
            "chance": float(np.mean([jaccard(sets[one], sets[other]) for sets in shuffled])),
        }
        for one, other in combinations(means, 2)
    ]
    return pa.Table.from_pylist(rows, schema=LANGUAGE_OVERLAPS.columns)
