"""The seed of each sample: its prompt's seed plus the sample's number.

A prompt's seed depends only on the experiment's seed and the prompt's id, and not on the batch, the actor, a restart or
the model. Two models therefore answer a prompt with common random numbers, which reduces the variance of their paired
difference.
"""

import hashlib

ROOM = 2**20  # largest number of samples: seed plus sample must fit into 31 bits


def prompt_seed(experiment_seed: int, prompt_id: str) -> int:
    """Return a prompt's seed in [0, 2**31 - ROOM). The seed of sample k is this plus k."""
    digest = hashlib.sha256(f"{experiment_seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - ROOM)
