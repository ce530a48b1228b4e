"""The parts of TRL that are used beyond its public interface, as read in TRL 1.16.0. Only workers import this module.

head_adapter.py also depends on the computation of TRL's fused head (`trl.trainer.utils.add_fused_lm_head`).
"""

from typing import Any

import datasets
import torch
from transformers import Trainer
from trl import DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.models import prepare_deepspeed
from trl.trainer.utils import disable_dropout_in_model

__all__ = [
    "CPOConfig",
    "CPOTrainer",
    "LeanCheckpointTrainer",
    "ORPOConfig",
    "ORPOTrainer",
    "PretokenizedDPOTrainer",
    "PretokenizedTrainer",
    "RecordedPolicy",
    "ReferenceDPOTrainer",
    "disable_dropout_in_model",
]


class LeanCheckpointTrainer(Trainer):
    """A trainer whose checkpoints hold the weights once, in DeepSpeed's files.

    transformers adds them as a model folder, which nothing here reads. Under ZeRO-3 that gathers all weights on one
    rank at each checkpoint.
    """

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not _internal_call:  # transformers' own calls are those for checkpoints
            super().save_model(output_dir)


class PretokenizedTrainer(Trainer):
    """A trainer whose dataset already has the columns of token ids that TRL's preparation of data would make."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *args: Any, **kwargs: Any) -> datasets.Dataset:
        return dataset  # DPO, KTO

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return {}  # ORPO, CPO: nothing to add


class PretokenizedDPOTrainer(PretokenizedTrainer, DPOTrainer):
    """TRL's DPO trainer, whose subclasses can read and change its metrics."""

    accelerator: Any  # transformers' Trainer sets this and the next one
    data_collator: Any

    @property
    def batch_metrics(self) -> dict[str, list[float]]:
        """Return the values that TRL has recorded since the last log, as a list per metric, for the current mode."""
        metrics: dict[str, list[float]] = self._metrics[self.mode]
        return metrics

    @property
    def mode(self) -> str:
        """Return what the trainer is doing: "train" or "eval"."""
        model: Any = self.model
        return "train" if model.training else "eval"

    @property
    def trained_tokens(self) -> float:
        """Return the number of tokens on which this rank has trained so far."""
        return self._total_train_tokens


class RecordedPolicy:
    """A policy that keeps the log-probabilities of its last pass.

    TRL's DPO loss calls its policy once per batch and does nothing else with it.
    """

    def __init__(self, policy: Any):
        self._policy = policy
        self.log_probs: torch.Tensor  # [2 pairs, tokens - 1]: of each next token; chosen completions come first

    def __call__(self, **inputs: Any) -> Any:
        output = self._policy(**inputs)
        self.log_probs = output.log_probs
        return output


class ReferenceDPOTrainer(PretokenizedDPOTrainer):
    """TRL's DPO trainer, whose subclasses provide the log-probabilities of the reference."""

    def with_reference_logps(self, dataset: datasets.Dataset) -> datasets.Dataset:
        """Return the dataset with the columns ref_chosen_logps and ref_rejected_logps.

        This is called for the training set and then for the validation set, while the trainer is constructed.
        """
        raise NotImplementedError

    def _precompute_ref_logps(self, dataset: datasets.Dataset, name: str, batch_size: int) -> datasets.Dataset:
        return self.with_reference_logps(dataset)

    def reference_engine(self) -> Any:
        """Return the parent, which is the policy before its first step, wrapped so that it can be run."""
        if self._precompute_engine is None:
            policy: Any = self.model
            self._precompute_engine = prepare_deepspeed(policy, self.accelerator)
        return self._precompute_engine

    def release_reference_engine(self) -> None:
        if self._precompute_engine is not None:
            self._precompute_engine.destroy()
            self._precompute_engine = None
