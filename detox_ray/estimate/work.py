"""Tokens and operations of each stage, and the time that they take at assumed speeds.

A forward pass multiplies each token with every weight matrix (2 operations a parameter) and attends to the sequence (4
operations a layer, token pair and head element); a backward pass takes as many for the gradients of activations, and 2
a trained parameter for those of weights (Kaplan et al. 2020; Narayanan et al. 2021).
"""

import math
from typing import NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture
from detox_ray.estimate.rows import TrainingRows


class Work(NamedTuple):
    """Of one thing that runs."""

    tokens: float
    operations: float
    assumption: str


class TrainingWork(NamedTuple):
    """At most: early stopping may end a training sooner."""

    steps: int
    training: Work
    reference: Work  # log-probabilities of the parent, where they are computed beforehand
    evaluation: Work
    evaluations: int

    @property
    def operations(self) -> float:
        return self.training.operations + self.reference.operations + self.evaluation.operations


def forward(built: Architecture, length: float) -> float:
    """Operations per token of a forward pass over sequences of ``length`` tokens."""
    return 2 * built.matrix_parameters + 4 * built.layers * length * built.attention_width


def steps_of(config: TrainConfig, rows: int) -> int:
    """Optimizer steps that training on ``rows`` rows takes."""
    if config.max_steps is not None:
        return config.max_steps
    batches = -(-rows // (config.workers * config.batch_size))
    return max(1, math.ceil(config.epochs * -(-batches // config.gradient_accumulation)))


def of_training(built: Architecture, config: TrainConfig, rows: TrainingRows) -> TrainingWork:
    steps = steps_of(config, rows.train)
    step_rows = config.workers * config.batch_size * config.gradient_accumulation
    seen = steps * step_rows
    tokens = seen * rows.sequences * rows.padded
    each = forward(built, rows.padded)
    passes = each + each + 2 * min(built.trained, built.matrix_parameters)  # policy forward, backward
    if config.tuning == "full" and config.trainable is None:
        passes = 3 * each
    how = ["forward and backward"]
    if config.gradient_checkpointing:
        passes += each
        how.append("the forward pass once more (checkpointing)")
    live = config.method == "kto" or config.reference == "live"
    if live:
        passes += each
        how.append("the reference")
    if config.loss == "kto":
        passes += 2 * each
        how.append("both models on mismatched pairs (its KL)")
    training = Work(tokens, tokens * passes, f"{seen:,} rows, {', '.join(how)}; padding included")
    cached = Work(0, 0, "none")
    if config.reference == "cached":
        known = (rows.train + rows.validation) * rows.sequences * rows.mean
        cached = Work(known, known * each, "each pair once; found again by other seeds, sweeps and restarts")
    evaluations = 0
    if rows.validation:
        evaluations = 1 + (steps // config.evaluate_every if config.evaluate_every else 0)
    judged = evaluations * rows.validation * rows.sequences * rows.padded
    how_judged = f"{evaluations:,} evaluations of {rows.validation:,} rows, early stopping left out"
    return TrainingWork(
        steps, training, cached, Work(judged, judged * each * (2 if live else 1), how_judged), evaluations
    )


def of_generation(
    built: Architecture, prompts: int, prompt_tokens: float, samples: int, most: int
) -> tuple[Work, Work]:
    """(prompts, completions): samples of a prompt share its tokens; every completion runs to its limit."""
    read = prompts * prompt_tokens
    made = float(prompts * samples * most)
    return (
        Work(
            read, read * forward(built, prompt_tokens), f"{prompts:,} prompts of {prompt_tokens:.0f} tokens, read once"
        ),
        Work(
            made,
            made * forward(built, prompt_tokens + most),
            f"{prompts * samples:,} completions of {most} tokens at most",
        ),
    )
