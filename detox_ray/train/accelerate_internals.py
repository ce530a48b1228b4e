"""The parts of accelerate that are used beyond its public interface, as read in accelerate 1.15.0.

Only workers import this module.
"""

from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from accelerate.state import AcceleratorState, PartialState
from torch.utils.data import BatchSampler


def open_state(backend: str) -> None:
    """Reset accelerate's state, so that it uses the process group that is open.

    Otherwise accelerate finds no backend on a machine without an accelerator.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(backend=backend)


def drawn_batches(rows: int, batch_size: int, seed: int, epoch: int, workers: int, worker: int) -> list[list[int]]:
    """Return the batches (indices of rows) that accelerate's loaders draw for one worker in one epoch."""
    sampler = SeedableRandomSampler(range(rows), data_seed=seed)
    sampler.set_epoch(epoch)
    batches = BatchSampler(sampler, batch_size, drop_last=False)
    return list(batches if workers == 1 else BatchSamplerShard(batches, workers, worker))
