"""The policy's distance from its parent: exact KL divergence per token on a fixed slice of the validation rows.

At every position whose next token belongs to a completion, KL(policy ‖ parent) is the sum over the vocabulary of
p (log p - log q), in nats, given the true tokens before it. The result is the mean over all such positions of chosen
and rejected completions (for sft, of the text). It is not an estimate from samples: the slice's completions are given.

The parent must be in memory, as a live reference model or as the policy with its adapter off. Otherwise (reference:
cached and full tuning; sft, orpo and cpo with full tuning) the divergence is not measured, and the marker says why.
Only workers import this module.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from detox_ray.config import TrainConfig
from detox_ray.train.loss_curves import KL

SEQUENCES = 16  # in the slice, which costs as much as the forward passes of 2 to 4 steps at the papers' batch of 4
POSITIONS = 64  # positions whose distributions over the vocabulary are in memory at once


def unmeasured(config: TrainConfig) -> str | None:
    """Return why the divergence cannot be measured; None if it can."""
    if config.tuning != "full" or config.method == "kto" or (config.method == "dpo" and config.reference == "live"):
        return None
    if config.method == "dpo":
        return "reference: cached keeps no reference model beside a fully tuned one"
    return f"{config.method} with full tuning has no reference model"


def sequences(rows: Sequence[dict[str, Any]], most: int = SEQUENCES) -> list[tuple[list[int], int]]:
    """Return (token ids, position of the first learned token) of the first rows that have two or more tokens."""
    learned: list[tuple[list[int], int]] = []
    for row in rows:
        if "prompt_ids" in row:
            sides = [row[name] for name in ("chosen_ids", "rejected_ids")]
            learned += [(row["prompt_ids"] + side, len(row["prompt_ids"])) for side in sides]
        else:
            learned.append((row["input_ids"], next(i for i, label in enumerate(row["labels"]) if label != -100)))
    # The first token is not predicted.
    return [(ids, max(1, start)) for ids, start in learned if len(ids) > max(1, start)][:most]


def token_kl(policy: torch.Tensor, parent: torch.Tensor) -> torch.Tensor:
    """Return KL(policy ‖ parent) summed over positions, in float64, from logits (positions, vocabulary)."""
    total = torch.zeros((), dtype=torch.float64, device=policy.device)
    for p, q in zip(policy.split(POSITIONS), parent.split(POSITIONS), strict=True):
        log_p, log_q = F.log_softmax(p.float(), dim=-1), F.log_softmax(q.float(), dim=-1)
        total += (log_p.exp() * (log_p - log_q)).sum(dtype=torch.float64)
    return total


class MeasureKL(TrainerCallback):
    """Adds the divergence to the row of each evaluation in the trainer's log, under ``loss_curves.KL``.

    It must be called before the callbacks that read this row.
    """

    trainer: Any  # set before training, because a trainer is constructed with its callbacks

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self._sequences = sequences(rows)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        state.log_history[-1][KL] = self._measure()

    def _measure(self) -> float:
        """Return the divergence. Every rank must call this, because all run the same number of forward passes."""
        trainer, device = self.trainer, self.trainer.args.device
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for first in range(0, len(self._sequences), world):
            mine = first + rank
            ids, start = self._sequences[min(mine, len(self._sequences) - 1)]
            batch = torch.tensor([ids], device=device)
            inputs = {"input_ids": batch, "attention_mask": torch.ones_like(batch), "use_cache": False}
            with _evaluating(trainer.model), torch.no_grad(), trainer.compute_loss_context_manager():
                # The logits at a position predict the token after it.
                policy = trainer.model(**inputs).logits[0, start - 1 : -1]
                with self._parent() as parent:
                    before = parent(**inputs).logits[0, start - 1 : -1]
            if mine < len(self._sequences):  # ranks beyond the end only take part in the passes
                sums += torch.stack([token_kl(policy, before), sums.new_tensor(float(len(policy)))])
        torch.distributed.all_reduce(sums)
        total, positions = sums.tolist()
        return total / positions

    @contextmanager
    def _parent(self) -> Iterator[Any]:
        reference = getattr(self.trainer, "ref_model", None)
        context: AbstractContextManager[Any] = nullcontext()
        if reference is None:
            context = self.trainer.accelerator.unwrap_model(self.trainer.model).disable_adapter()
        with context:
            yield self.trainer.model if reference is None else reference


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Turn dropout off while the block runs."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
