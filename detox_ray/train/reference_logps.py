"""The reference's log-probabilities of the pairs, computed once, before the first step, and stored in the run's folder.

The parent does not change while its children are trained. So its log-probability of a completion is a property of the
pair, not of the training. Restarts, seeds and sweeps with the same pairs read it from the store, and no second model
takes memory. Only workers import this module.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch.distributed
from accelerate.utils import broadcast_object_list, gather_object

from detox_ray.storage import Unit, key_of
from detox_ray.storage.tables import REFERENCE_LOGPS
from detox_ray.train import length_groups
from detox_ray.train.training_job import TrainingJob, TrainWorker

VERSION = 1  # raise it if the same pairs get other values
BUDGET = 8192  # most padded tokens of a forward pass, unless the train block sets it

Logps = dict[str, tuple[float, float]]  # pair_id -> sum over the tokens of (chosen, rejected), nats


def logps(trainer: Any, job: TrainingJob, worker: TrainWorker, rows: Sequence[Mapping[str, Any]]) -> Logps:
    """Return the parent's log-probabilities of ``rows`` from the store, or let all ranks compute and commit them.

    Every rank must call this.

    Args:
        trainer: TRL's trainer before its first step, when its model is still the parent.
        job: The training.
        worker: The calling worker.
        rows: pair_id, prompt_ids, chosen_ids and rejected_ids of each pair.
    """
    lengths = [length(row) for row in rows]
    unit, key = address(job, rows)
    stored = [_stored(job, unit, key) if worker.rank == 0 else None]
    broadcast_object_list(stored, from_process=0)
    if stored[0] is not None:
        return stored[0]
    started = time.monotonic()
    budget = job.config.batch_tokens or max(BUDGET, 2 * max(lengths))
    mine = _compute(trainer, worker, rows, length_groups.fill(lengths, budget))
    computed: Logps = dict(gather_object(list(mine.items())))
    if worker.rank == 0:
        info = {"parent": job.parent.name, "seconds": round(time.monotonic() - started, 1)}
        job.store.commit(unit, key, _table(computed), info)
    torch.distributed.barrier()
    return computed


def length(row: Mapping[str, Any]) -> int:
    """Return the number of tokens of a pair's prompt and longer completion."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def address(job: TrainingJob, rows: Iterable[Mapping[str, Any]]) -> tuple[Unit, str]:
    """Return the unit of these pairs' values, and its key: a hash of everything that changes them, with token ids."""
    tokens = sorted([row["pair_id"], row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] for row in rows)
    assert len({pair_id for pair_id, *_ in tokens}) == len(tokens), "pair_id is not unique"
    key = key_of(
        stage="reference_logps",
        version=VERSION,
        parent=job.parent.key,
        dtype=job.config.dtype,
        autocast=job.config.autocast,
        quantised=job.config.tuning == "qlora",
        pairs=hashlib.sha256(json.dumps(tokens).encode()).hexdigest(),
    )
    return REFERENCE_LOGPS.unit(model=job.parent.name, settings=key), key


def _compute(
    trainer: Any, worker: TrainWorker, rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[int]]
) -> Logps:
    """Compute this rank's share of the groups. ZeRO-3 requires that all ranks run the same number of passes."""
    engine = trainer.reference_engine()
    values: Logps = {}
    for begin in range(0, len(groups), worker.world_size):
        group = groups[min(begin + worker.rank, len(groups) - 1)]  # repeats the last one if there are too few
        batch = trainer.data_collator([rows[number] for number in group])
        batch = {name: tensor.to(trainer.args.device) for name, tensor in batch.items()}
        chosen, rejected = (half.double().tolist() for half in trainer.compute_ref_log_probs(engine, batch))
        ids = [rows[number]["pair_id"] for number in group]
        values |= {pair: (one, other) for pair, one, other in zip(ids, chosen, rejected, strict=True)}
        for callback in trainer.callback_handler.callbacks:
            if hasattr(callback, "on_reference_pass"):
                callback.on_reference_pass(min(begin + worker.world_size, len(groups)), len(groups))
    return values


def _table(values: Logps) -> pa.Table:
    ids = sorted(values)
    columns = [ids, [values[pair][0] for pair in ids], [values[pair][1] for pair in ids]]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=REFERENCE_LOGPS.columns)


def _stored(job: TrainingJob, unit: Unit, key: str) -> Logps | None:
    if job.store.committed(REFERENCE_LOGPS).get(unit) != key:
        return None
    table = job.store.read(unit, key).to_pydict()
    return {
        pair: (chosen, rejected)
        for pair, chosen, rejected in zip(table["pair_id"], table["chosen"], table["rejected"], strict=True)
    }
