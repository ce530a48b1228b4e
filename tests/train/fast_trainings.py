"""Trainings that say which pairs every step was made of, for test_fast_dpo."""

import random
import shutil
from typing import Any

import pyarrow as pa

from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import PAIRS
from detox_ray.train.training_job import TrainingJob, TrainWorker


def uneven_pairs(count: int) -> pa.Table:
    """Completions of 1 to about 40 words, one side all of one kind of word."""
    draw = random.Random(7)

    def words(kind: str) -> str:
        return "".join(f" {kind}{draw.randint(0, 3)}" for _ in range(min(40, int(draw.lognormvariate(1.5, 1)) + 1)))

    rows = [
        {
            "pair_id": f"p{index}",
            "prompt": f"Number {index}" + words("n"),
            "chosen": words("g"),
            "rejected": words("b"),
            "language": "en",
        }
        for index in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS.columns)


def commit_uneven_pairs(store: Store, count: int) -> tuple[Unit, str]:
    unit = PAIRS.unit()
    store.commit(unit, "1" * 16, uneven_pairs(count))
    return unit, "1" * 16


def traced(job: TrainingJob, worker: TrainWorker) -> dict[str, Any]:
    """Train; and train again from the first checkpoint, if the job makes one (``checkpoint_every`` below its steps)."""
    path = job.parent.local_path(job.store)
    if worker.rank == 0:
        shutil.rmtree(job.scratch, ignore_errors=True)
    found = {"draws": draws(), **_train(job, worker, path, None)}
    first = job.scratch / f"checkpoint-{job.config.checkpoint_every}"
    assert job.config.max_steps is not None
    if job.config.checkpoint_every < job.config.max_steps:
        found["resumed"] = _train(job, worker, path, str(first))
    return found


def _train(job: TrainingJob, worker: TrainWorker, path: str, checkpoint: str | None) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    from detox_ray.train import data_split, trl_trainers

    rows_of_steps: list[list[str]] = []

    class Trace(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            told: list[Any] = [None] * worker.world_size
            torch.distributed.all_gather_object(told, trainer.rows_of_step())
            rows_of_steps.append(sorted(row for rows in told for row in rows))

    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    split = data_split.split(job.store.read(*job.rows), tokenizer, job.config, worker.world_size, "train")
    trainer = trl_trainers.trainer(job, worker, path, tokenizer, split, [Trace()])
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoint)
    evaluation = trainer.evaluate()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    return {
        "pairs": len(split.train),
        "engine": type(trainer.model_wrapped).__name__,
        "accumulation": trainer.args.gradient_accumulation_steps,
        "steps": {row["step"]: row for row in steps},
        "rows": rows_of_steps,
        "evaluation": evaluation,
        "evaluated": len(split.validation),
    }


def draws() -> dict[str, Any]:
    """Return what accelerate's own loaders draw, and what `SamplingOrder` says, for several shapes, over two epochs."""
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import DataLoader

    from detox_ray.train.fast_dpo import SamplingOrder

    shapes = [(pairs, workers, batch) for pairs in (5, 24, 37) for workers in (1, 2, 3) for batch in (1, 4)]
    theirs, ours = [], []
    for pairs, workers, batch in shapes:
        for accumulation in (1, 3):
            draw = SamplingOrder(pairs, workers, batch, accumulation, seed=11)
            loaders = [
                prepare_data_loader(
                    DataLoader(range(pairs), batch_size=batch, shuffle=True, collate_fn=list),  # type: ignore[arg-type]
                    num_processes=workers,
                    process_index=worker,
                    use_seedable_sampler=True,
                    data_seed=11,
                )
                for worker in range(workers)
            ]
            for epoch in (0, 1):
                for loader in loaders:
                    loader.set_epoch(epoch)
                shares = [list(loader) for loader in loaders]
                steps = range(0, len(shares[0]), accumulation)
                theirs.append([[batch for share in shares for batch in share[at : at + accumulation]] for at in steps])
                ours.append(list(draw.epoch(epoch)))
                assert len(ours[-1]) == draw.steps
    return {"theirs": theirs, "ours": ours}
