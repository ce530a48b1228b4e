"""Linear probes: a direction of the residual stream along which toxic texts lie further than harmless ones.

- logistic: L2, C chosen by cross-validation on the training texts.
- reference: as the scripts of Lee et al. and of Li et al. train theirs: Adam on batches, binary cross-entropy, no bias
  (docs/papers.md, "The probe of Lee et al."). Their language model runs once an epoch; here its states are kept.
- mean-difference: the mean toxic state less the mean harmless one.

Shapes: N texts, D width.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["logistic", "reference", "mean-difference"]
STRENGTHS = np.logspace(-4, 1, 6)  # C of the logistic probe: the inverse of its penalty
FOLDS = 5
NARROW = 1024  # up to this width, second-order steps are faster than many first-order ones


class Probe(NamedTuple):
    """A direction, and a bias that makes its projection a log-odds; 0 if the method gives none."""

    weights: Floats  # (D,)
    bias: float = 0.0

    def scores(self, states_ND: NDArray[np.floating]) -> Floats:
        """Return (N,) projections of texts."""
        scores: Floats = states_ND.astype(np.float64) @ self.weights + self.bias
        return scores


class ReferenceTraining(NamedTuple):
    """How the reference probe is trained."""

    learning_rate: float
    epochs: int
    batch_size: int


class Split(NamedTuple):
    """Places of the texts to train on and of those to validate with."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def split(texts: int, share: float, seed: int) -> Split:
    """Return a random split; both parts hold at least one text."""
    order = np.random.default_rng(seed).permutation(texts)
    held_out = min(texts - 1, max(1, round(texts * share)))
    return Split(np.sort(order[held_out:]), np.sort(order[:held_out]))


def fit(
    method: Method, states_ND: NDArray[np.floating], toxic_N: NDArray[np.bool_], seed: int, training: ReferenceTraining
) -> Probe:
    """Fit a probe.

    Args:
        method: how.
        states_ND: one pooled state per text.
        toxic_N: which texts are toxic; there is at least one of each kind.
        seed: of folds, of the first weights and of the batches.
        training: of the reference probe.
    """
    states = states_ND.astype(np.float64)
    if method == "mean-difference":
        return Probe(states[toxic_N].mean(0) - states[~toxic_N].mean(0))
    if method == "reference":
        return _reference(states_ND, toxic_N, seed, training)
    return _logistic(states, toxic_N, seed)


def _logistic(states: Floats, toxic_N: NDArray[np.bool_], seed: int) -> Probe:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    scale = np.sqrt(np.mean((states - states.mean(0)) ** 2)) or 1.0  # one number: directions stay as they are
    smallest = int(min(toxic_N.sum(), (~toxic_N).sum()))
    folds = StratifiedKFold(max(2, min(FOLDS, smallest)), shuffle=True, random_state=seed)
    model = LogisticRegressionCV(
        Cs=STRENGTHS,
        l1_ratios=(0,),
        cv=folds,
        scoring="neg_log_loss",
        solver="newton-cholesky" if states.shape[1] <= NARROW else "lbfgs",
        max_iter=300,
        use_legacy_attributes=False,
    )
    centre = states.mean(0)
    model.fit((states - centre) / scale, toxic_N)
    weights = model.coef_[0] / scale
    return Probe(weights, float(model.intercept_[0] - centre @ weights))


def _reference(
    states_ND: NDArray[np.floating], toxic_N: NDArray[np.bool_], seed: int, training: ReferenceTraining
) -> Probe:
    import torch

    states, labels = torch.tensor(states_ND, dtype=torch.float32), torch.tensor(toxic_N, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(states.shape[1], 1, bias=False)
    bound = states.shape[1] ** -0.5  # as torch.nn.Linear draws its weights
    with torch.no_grad():
        head.weight.uniform_(-bound, bound, generator=generator)
    optimizer = torch.optim.Adam(head.parameters(), lr=training.learning_rate)
    for _ in range(training.epochs):
        order = torch.randperm(len(states), generator=generator)
        for begin in range(0, len(states), training.batch_size):
            batch = order[begin : begin + training.batch_size]
            logits = head(states[batch])[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Probe(head.weight.detach()[0].numpy().astype(np.float64))


def shuffled(toxic_N: NDArray[np.bool_], seed: int, draw: int = 0) -> NDArray[np.bool_]:
    """Return the labels in random order: a probe of these shows what a probe finds where there is nothing."""
    return np.random.default_rng([seed, 1, draw]).permutation(toxic_N)
