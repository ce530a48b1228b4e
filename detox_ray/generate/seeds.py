"""The seed of each sample: its prompt's seed plus the sample's number.

It follows from the experiment's seed and the prompt's id alone, so it does not depend on the batch, the actor, a
restart or the model. Two models answer a prompt with common random numbers, which makes their paired difference less
noisy.
"""

import hashlib

ROOM = 2**20  # samples that can be added to a prompt's seed within 31 bits


def prompt_seed(experiment_seed: int, prompt_id: str) -> int:
    """Return a prompt's seed in [0, 2**31 - ROOM). The seed of sample k is this plus k."""
    digest = hashlib.sha256(f"{experiment_seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - ROOM)
