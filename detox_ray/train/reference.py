"""The reference's log-probabilities of the pairs: computed once, before the first step, and kept in the run's folder.

The parent does not change while its children are trained. So its log-probability of each completion is a property of
the pair, not of the training: restarts, seeds and sweeps over the same pairs find it here, and no second model takes
memory. Imported by workers only.
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
from detox_ray.train import batches
from detox_ray.train.place import Job, Place

VERSION = 1  # of the computation: raise it when the same pairs get other values
BUDGET = 8192  # padded tokens of a forward pass, where the training says none

Logps = dict[str, tuple[float, float]]  # pair_id -> sum over the tokens of (chosen, rejected), nats


def logps(trainer: Any, job: Job, place: Place, rows: Sequence[Mapping[str, Any]]) -> Logps:
    """Of ``rows`` (pair_id, prompt_ids, chosen_ids, rejected_ids) under the parent, which ``trainer`` (TRL's, before
    its first step) still holds: found in the store, else computed by all ranks and committed. Every rank must call it.
    """
    lengths = [length(row) for row in rows]
    unit, key = address(job, rows)
    found = [_stored(job, unit, key) if place.rank == 0 else None]
    broadcast_object_list(found, from_process=0)
    if found[0] is not None:
        return found[0]
    started = time.monotonic()
    budget = job.config.batch_tokens or max(BUDGET, 2 * max(lengths))
    mine = _compute(trainer, place, rows, batches.fill(lengths, budget))
    computed: Logps = dict(gather_object(list(mine.items())))
    if place.rank == 0:
        info = {"parent": job.parent.name, "seconds": round(time.monotonic() - started, 1)}
        job.store.commit(unit, key, _table(computed), info)
    torch.distributed.barrier()
    return computed


def length(row: Mapping[str, Any]) -> int:
    """Tokens of prompt and longer completion."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def address(job: Job, rows: Iterable[Mapping[str, Any]]) -> tuple[Unit, str]:
    """Where these pairs' values are kept: by everything that changes them, the token ids themselves included."""
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


def _compute(trainer: Any, place: Place, rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[int]]) -> Logps:
    """Of this rank's share of the groups. All ranks run equally many passes: under ZeRO-3 they need each other."""
    engine = trainer.reference_engine()
    found: Logps = {}
    for begin in range(0, len(groups), place.world):
        group = groups[min(begin + place.rank, len(groups) - 1)]  # the last one again where there are too few
        batch = trainer.data_collator([rows[number] for number in group])
        batch = {name: tensor.to(trainer.args.device) for name, tensor in batch.items()}
        chosen, rejected = (half.double().tolist() for half in trainer.compute_ref_log_probs(engine, batch))
        ids = [rows[number]["pair_id"] for number in group]
        found |= {pair: (one, other) for pair, one, other in zip(ids, chosen, rejected, strict=True)}
        for callback in trainer.callback_handler.callbacks:
            if hasattr(callback, "on_reference_pass"):
                callback.on_reference_pass(min(begin + place.world, len(groups)), len(groups))
    return found


def _table(values: Logps) -> pa.Table:
    ids = sorted(values)
    columns = [ids, [values[pair][0] for pair in ids], [values[pair][1] for pair in ids]]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=REFERENCE_LOGPS.columns)


def _stored(job: Job, unit: Unit, key: str) -> Logps | None:
    if job.store.committed(REFERENCE_LOGPS).get(unit) != key:
        return None
    table = job.store.read(unit, key).to_pydict()
    return {
        pair: (chosen, rejected)
        for pair, chosen, rejected in zip(table["pair_id"], table["chosen"], table["rejected"], strict=True)
    }
