"""The seeds of completions.

By default, a sample's seed is its prompt's seed plus the sample's number. A prompt's seed depends only on the
experiment's seed and the prompt's id, and not on the batch, the actor, a restart or the model. Two models therefore
answer a prompt with common random numbers, which reduces the variance of their paired difference.

With ``generate.seeding: unit``, all completions of a unit share one stream of random numbers and one seed, which
depends on the experiment's seed, the unit's table, its keys except the model, and its shard.
"""

import hashlib
from collections.abc import Sequence

from detox_ray.storage import Unit

ROOM = 2**20  # largest number of samples: seed plus sample must fit into 31 bits


def prompt_seed(experiment_seed: int, prompt_id: str) -> int:
    """Return a prompt's seed in [0, 2**31 - ROOM). The seed of sample k is this plus k."""
    return _seed(f"{experiment_seed}\n{prompt_id}")


def unit_seed(experiment_seed: int, unit: Unit) -> int:
    """Return the seed that a unit's completions share, in [0, 2**31 - ROOM)."""
    keys = "/".join(f"{name}={value}" for name, value in unit.keys if name != "model")
    return _seed(f"{experiment_seed}\n{unit.table}/{keys}/{unit.shard}")


def sample_seeds(seeds: Sequence[int] | int, prompts: int, samples: int) -> list[list[int]]:
    """Return the seed of each sample, by prompt.

    Args:
        seeds: A seed for each prompt, or the seed that all share.
        prompts: Number of prompts.
        samples: Number of samples of each prompt.
    """
    if isinstance(seeds, int):
        return [[seeds] * samples] * prompts
    return [[seed + sample for sample in range(samples)] for seed in seeds]


def _seed(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - ROOM)
