"""Faster DPO with the same steps: reference log-probabilities are cached, and pairs of similar length are computed
together.

The loss is TRL's, and the pairs of each optimizer step are those that TRL's sampler draws with the same seed. So the
losses equal TRL's up to float error, except for LoRA's dropout, which is drawn per batch. Only workers import this
module.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from statistics import fmean
from typing import Any, NamedTuple

import datasets
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detox_ray.train import length_groups, reference_logps, settings
from detox_ray.train.accelerate_internals import drawn_batches
from detox_ray.train.sft_term import CHOSEN_TOKENS, SftTermDPOTrainer
from detox_ray.train.training_job import TrainingJob, TrainWorker
from detox_ray.train.trl_internals import ReferenceDPOTrainer

TOKEN_IDS = ("prompt_ids", "chosen_ids", "rejected_ids")


class SamplingOrder(NamedTuple):
    """The pairs of every step, in the order in which TRL's sampler draws them."""

    pairs: int
    workers: int
    batch_size: int  # per worker and accumulation step
    accumulation: int
    seed: int

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps in an epoch."""
        per_worker = -(-self.pairs // (self.workers * self.batch_size))
        return -(-per_worker // self.accumulation)

    def epoch(self, number: int) -> Iterator[list[list[int]]]:
        """Yield the batches of each step, for all workers and accumulation steps.

        As in TRL, if there are several workers, the epoch's first pairs fill incomplete batches at the end.
        """
        shares = [self._share(number, worker) for worker in range(self.workers)]
        for begin in range(0, len(shares[0]), self.accumulation):
            yield [batch for share in shares for batch in share[begin : begin + self.accumulation]]

    def _share(self, epoch: int, worker: int) -> list[list[int]]:
        return drawn_batches(self.pairs, self.batch_size, self.seed, epoch, self.workers, worker)


class GroupingPlan(NamedTuple):
    """The plan by which the steps of a training are divided into groups."""

    order: SamplingOrder
    lengths: list[int]  # length of each pair, as defined in length_groups.py
    chosen: list[int]  # tokens of each pair's chosen completion
    budget: int  # most padded tokens of a group
    groups: int  # groups per worker and step: the trainer's gradient_accumulation_steps


def plan(dataset: datasets.Dataset, job: TrainingJob, worker: TrainWorker, steps: int) -> GroupingPlan | None:
    """Plan ``steps`` optimizer steps on ``dataset``. Return None if the train block does not group by length."""
    config = job.config
    if config.batching != "length-grouped":
        return None
    assert config.batch_tokens is not None  # the config fills it in
    accumulation = settings.accumulation(config, worker.world_size)
    order = SamplingOrder(len(dataset), worker.world_size, config.batch_size, accumulation, job.seed)
    drawn: list[list[int]] = []
    while len(drawn) < steps:
        drawn += (list(chain(*batches)) for batches in order.epoch(len(drawn) // order.steps))
    lengths = _lengths(dataset)
    groups = length_groups.groups_per_step(drawn[:steps], lengths, worker.world_size, config.batch_tokens)
    return GroupingPlan(order, lengths, _chosen_lengths(dataset), config.batch_tokens, groups)


def _lengths(dataset: datasets.Dataset) -> list[int]:
    return [reference_logps.length(row) for row in dataset.select_columns(list(TOKEN_IDS))]


def _chosen_lengths(dataset: datasets.Dataset) -> list[int]:
    return [len(ids) for ids in dataset["chosen_ids"]]


def _batch_means(lengths: Iterable[Sequence[int]]) -> list[float]:
    """Return for each pair the mean length in its batch, given the lengths in each batch."""
    return [fmean(batch) for batch in lengths for _ in batch]


class GroupedPair(NamedTuple):
    """A pair in a worker's group."""

    number: int  # index in the dataset
    weight: float  # weight in the worker's loss
    chosen_tokens: float  # mean tokens of a chosen completion in the batch in which TRL draws the pair


class GroupSampler(Sampler[list[GroupedPair]]):
    """A sampler that yields one worker's groups, step after step."""

    def __init__(self, plan: GroupingPlan, rank: int):
        self._plan, self._rank, self._epoch = plan, rank, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._plan.order.steps * self._plan.groups

    def __iter__(self) -> Iterator[list[GroupedPair]]:
        order, lengths, chosen, budget, groups = self._plan
        for batches in order.epoch(self._epoch):
            pairs = list(chain(*batches))  # a pair may be in two batches, so groups contain positions
            means = _batch_means([chosen[pair] for pair in batch] for batch in batches)
            sizes = [lengths[pair] for pair in pairs]
            for group in length_groups.divide(range(len(pairs)), sizes, order.workers, groups, budget)[self._rank]:
                yield [GroupedPair(pairs[at], group.weight, means[at]) for at in group.pairs]


class WeightedRows(Dataset[dict[str, Any]]):
    """The rows of a dataset, addressed by `GroupedPair`."""

    def __init__(self, rows: datasets.Dataset):
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, pair: GroupedPair) -> dict[str, Any]:
        return {**self._rows[pair.number], "weight": pair.weight, CHOSEN_TOKENS: pair.chosen_tokens}


class EpochLoader(DataLoader[dict[str, Any]]):
    """A data loader that passes the epoch to its sampler, as accelerate's loaders do."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class _Collator:
    """TRL's collator, extended to the columns that `WeightedRows` and the validation set add to a row."""

    def __init__(self, inner: Any):
        self._inner = inner

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self._inner(rows)
        if "weight" in rows[0]:
            batch["weight"] = sum(row["weight"] for row in rows)
        if CHOSEN_TOKENS in rows[0]:
            batch[CHOSEN_TOKENS] = torch.tensor([row[CHOSEN_TOKENS] for row in rows])
        return batch


class _LocalMetricsAccelerator:
    """An accelerator that gathers nothing.

    TRL gathers every metric of every batch from all ranks, which takes time and fails if their batches differ in size.
    """

    def __init__(self, accelerator: Any):
        self._accelerator = accelerator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    gather_for_metrics = gather


class FastDPOTrainer(ReferenceDPOTrainer, SftTermDPOTrainer):
    """TRL's DPOTrainer on token ids: columns pair_id, prompt_ids, chosen_ids, rejected_ids, cut to length.

    With ``args.precompute_ref_log_probs``, the constructor computes the reference's log-probabilities unless the store
    has them. Logged metrics are means over the pairs of all ranks since the last log, or means over their tokens if
    TRL's are.

    Args:
        job: The training.
        worker: The calling worker.
        plan: The division into groups, as many per step as ``args.gradient_accumulation_steps``; None: TRL's batches.
        args, kwargs: Arguments of DPOTrainer.
    """

    def __init__(self, *args: Any, job: TrainingJob, worker: TrainWorker, plan: GroupingPlan | None, **kwargs: Any):
        self._job, self._worker, self._plan = job, worker, plan
        self._logps: reference_logps.Logps | None = None
        self._sums: dict[str, dict[str, list[float]]] = {"train": {}, "eval": {}}
        super().__init__(*args, **kwargs)
        assert plan is None or self.args.gradient_accumulation_steps == plan.groups
        self.data_collator = _Collator(self.data_collator)
        held_out: Any = self.eval_dataset
        if held_out is not None:  # batches of similar length; their order does not matter
            lengths, chosen, size = _lengths(held_out), _chosen_lengths(held_out), self.args.per_device_eval_batch_size
            means = _batch_means(chosen[begin : begin + size] for begin in range(0, len(chosen), size))
            held_out = held_out.add_column(CHOSEN_TOKENS, means)
            self.eval_dataset = held_out.select(sorted(range(len(lengths)), key=lengths.__getitem__))

    # The reference

    def with_reference_logps(self, dataset: datasets.Dataset) -> datasets.Dataset:
        if self._logps is None:
            both: list[Any] = [one for one in (self.train_dataset, self.eval_dataset) if one is not None]
            rows = [row for one in both for row in one]
            self._logps = reference_logps.logps(self, self._job, self._worker, rows)
            self.release_reference_engine()
        values = [self._logps[pair] for pair in dataset["pair_id"]]
        for column, which in (("ref_chosen_logps", 0), ("ref_rejected_logps", 1)):
            dataset = dataset.add_column(column, [value[which] for value in values])
        return dataset

    # Batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        if self._plan is None:
            return super().get_train_dataloader()
        return EpochLoader(
            WeightedRows(self.train_dataset),
            batch_sampler=GroupSampler(self._plan, self._worker.rank),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weight = inputs.pop("weight", None)
        gathering = self.accelerator
        self.accelerator = _LocalMetricsAccelerator(gathering)
        try:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            self.accelerator = gathering
        if weight != 0:
            self._count(inputs["completion_mask"])
        self.batch_metrics.clear()
        return loss if weight is None else loss * weight

    # Metrics

    def _count(self, completion_mask: torch.Tensor) -> None:
        """Add the metrics that TRL recorded for one batch to the weighted sums since the last log."""
        chosen, rejected = completion_mask[:, 1:].sum(dim=1).chunk(2)
        tokens = {
            "entropy": chosen.sum() + rejected.sum(),
            "logits/chosen": chosen.sum(),
            "logits/rejected": rejected.sum(),
            "mean_token_accuracy": chosen.sum(),
        }
        for name, (value,) in self.batch_metrics.items():
            if name == "num_tokens":
                continue
            weight = float(tokens.get(name, len(chosen)))
            sums = self._sums[self.mode].setdefault(name, [0.0, 0.0])
            sums[0] += weight * value
            sums[1] += weight

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if sums := self._sums[self.mode]:
            mine = torch.tensor([sums[name] for name in sorted(sums)] + [[self.trained_tokens, 1]])
            ours = self.accelerator.gather(mine[None].to(self.args.device)).double().sum(dim=0)
            for name, (total, weight) in zip(sorted(sums), ours[:-1].tolist(), strict=True):
                self.batch_metrics[name] = [total / weight]
            self.batch_metrics["num_tokens"] = [ours[-1, 0].item()]
            sums.clear()
        super().log(logs, start_time)
