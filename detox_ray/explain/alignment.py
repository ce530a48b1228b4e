"""Similarity of a model's states in a language and in English, as a predictor of transfer from English.

All measures are taken over pairs of a sentence and its translation:

- aligned cosine: the mean over layers of the cosine of a sentence and its translation. The script of Li et al. computes
  this and calls it retrieval accuracy (docs/papers.md, "Transfer in Li et al.").
- mismatched cosine: the same for sentences that are not translations of each other; the part of the aligned cosine that
  comes from all states lying in a narrow cone.
- retrieval@1: how often a sentence's nearest neighbour in the other language is its translation, in both directions.
- centred: computed after each language's mean state is subtracted.
- subword overlap: the share of tokens that the two languages' texts have in common.

Shapes: S sentences, L layers (embeddings and final states included), D width.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Alignment(NamedTuple):
    """The measures of each sentence, each an array (S,) of means over the layers."""

    aligned_cosine: Floats
    mismatched_cosine: Floats
    centred_cosine: Floats
    retrieval: Floats  # 0, 1/2 or 1 in each layer: the share of the two directions that hit
    centred_retrieval: Floats


def alignment(english_SLD: NDArray[np.floating], other_SLD: NDArray[np.floating]) -> Alignment:
    """Compare the states of S >= 2 sentences with those of their translations."""
    sentences, layers = english_SLD.shape[:2]
    totals = {name: np.zeros(sentences) for name in Alignment._fields}
    for layer in range(layers):
        english, other = (states[:, layer].astype(np.float64) for states in (english_SLD, other_SLD))
        cosines_SS = _cosines(english, other)
        centred_SS = _cosines(english - english.mean(0), other - other.mean(0))
        own = np.diagonal(cosines_SS)
        totals["aligned_cosine"] += own
        totals["mismatched_cosine"] += (cosines_SS.sum(1) - own) / (sentences - 1)
        totals["centred_cosine"] += np.diagonal(centred_SS)
        totals["retrieval"] += _hits(cosines_SS)
        totals["centred_retrieval"] += _hits(centred_SS)
    return Alignment(**{name: total / layers for name, total in totals.items()})


def _cosines(a_SD: Floats, b_SD: Floats) -> Floats:
    """Return (S, S) cosines of all pairs; 0 if a vector is zero."""
    a_norms, b_norms = (np.linalg.norm(side, axis=1) for side in (a_SD, b_SD))
    products = a_SD @ b_SD.T
    norms = np.outer(a_norms, b_norms)
    cosines: Floats = np.divide(products, norms, np.zeros_like(products), where=norms > 0)
    return cosines


def _hits(cosines_SS: Floats) -> Floats:
    """Return (S,) the share of directions in which a sentence's translation is nearest; a tie counts in part."""
    own = np.diagonal(cosines_SS)
    hits = np.zeros(len(own))
    for axis in (0, 1):
        best = cosines_SS.max(axis=axis)
        near = cosines_SS >= (best - 1e-12 if axis == 0 else (best - 1e-12)[:, None])
        ties = near.sum(axis=axis)
        hits += np.where(own >= best - 1e-12, 1 / ties, 0.0)
    return hits / 2


def subword_overlap(english: Iterable[int], other: Iterable[int]) -> float:
    """Return Dice's coefficient of two texts' tokens, counted with multiplicity; 1 for equal texts.

    The scripts of Neplenbroek et al. do not double the shared tokens in the numerator, so their value is half of this
    one.
    """
    a, b = Counter(english), Counter(other)
    return 2 * (a & b).total() / (a.total() + b.total())
