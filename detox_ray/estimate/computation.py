"""Tokens and floating-point operations of training and generation.

A forward pass multiplies each token with every weight matrix (2 operations a parameter) and attends to the sequence (4
operations a layer, token pair and head element); a backward pass takes as many for the gradients of activations, and 2
a trained parameter for those of weights (Kaplan et al. 2020; Narayanan et al. 2021).
"""

import math
from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.rows import TrainingRows


class Computation(NamedTuple):
    """Tokens and operations of one pass over data."""

    tokens: float
    operations: float
    assumption: str


class TrainingWork(NamedTuple):
    """The computation of a whole training. Early stopping may end it sooner."""

    steps: int
    training: Computation
    reference: Computation  # the parent's log-probabilities, if they are computed beforehand
    evaluation: Computation
    evaluations: int

    @property
    def operations(self) -> float:
        """Return the operations of all three."""
        return self.training.operations + self.reference.operations + self.evaluation.operations


def forward(built: Architecture, length: float) -> float:
    """Return the operations per token of a forward pass over sequences of ``length`` tokens."""
    return 2 * built.matrix_parameters + 4 * built.layers * length * built.attention_width


def steps_of(config: TrainConfig, rows: int) -> int:
    """Return the optimizer steps of a training on ``rows`` rows."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-rows // (config.workers * config.batch_size))
    return max(1, math.ceil(config.epochs * -(-batches // config.gradient_accumulation)))


def training_work(built: Architecture, config: TrainConfig, rows: TrainingRows) -> TrainingWork:
    """Count the computation of a training on ``rows``."""
    steps = steps_of(config, rows.train)
    step_rows = config.workers * config.batch_size * config.gradient_accumulation
    seen = steps * step_rows
    tokens = seen * rows.sequences * rows.padded

    # Operations per token of a step: the policy forward and backward, and whatever the method adds.
    once = forward(built, rows.padded)
    per_token = once + once + 2 * min(built.trained, built.matrix_parameters)
    if config.tuning == "full" and config.trainable is None:
        per_token = 3 * once
    how = ["forward and backward"]
    if config.gradient_checkpointing:
        per_token += once
        how.append("the forward pass once more (checkpointing)")
    live = config.method == "kto" or config.reference == "live"
    if live:
        per_token += once
        how.append("the reference")
    if config.loss == "kto":
        per_token += 2 * once
        how.append("both models on mismatched pairs (its KL)")
    training = Computation(tokens, tokens * per_token, f"{seen:,} rows, {', '.join(how)}; padding included")

    # The reference's pass beforehand, and the evaluations.
    reference = Computation(0, 0, "none")
    if config.reference == "cached":
        once_read = (rows.train + rows.validation) * rows.sequences * rows.mean
        how_cached = "each pair once; reused by other seeds, sweeps and restarts"
        reference = Computation(once_read, once_read * once, how_cached)
    evaluations = 0
    if rows.validation:
        evaluations = 1 + (steps // config.evaluate_every if config.evaluate_every else 0)
    evaluated = evaluations * rows.validation * rows.sequences * rows.padded
    how_evaluated = f"{evaluations:,} evaluations of {rows.validation:,} rows, early stopping left out"
    evaluation = Computation(evaluated, evaluated * once * (2 if live else 1), how_evaluated)
    return TrainingWork(steps, training, reference, evaluation, evaluations)


def generation_work(
    built: Architecture, prompts: int, prompt_tokens: float, samples: int, max_tokens: int
) -> tuple[Computation, Computation]:
    """Count the computation of reading the prompts, and of generating completions.

    Samples of a prompt share its tokens, and every completion is counted at its full length.
    """
    read = prompts * prompt_tokens
    how_read = f"{prompts:,} prompts of {prompt_tokens:.0f} tokens, read once"
    generated = float(prompts * samples * max_tokens)
    how_generated = f"{prompts * samples:,} completions of {max_tokens} tokens at most"
    return (
        Computation(read, read * forward(built, prompt_tokens), how_read),
        Computation(generated, generated * forward(built, prompt_tokens + max_tokens), how_generated),
    )
