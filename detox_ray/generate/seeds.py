"""The seed of each (prompt, sample): prompt's seed + sample.

It follows from the experiment's seed and the prompt's id alone, so it is the same whatever the batch, the actor or the
restart, and the same for every model: two models answer a prompt with common random numbers, which makes their paired
difference less noisy.
"""

import hashlib

ROOM = 2**20  # samples that fit above a prompt's seed without leaving 31 bits


def prompt_seed(experiment_seed: int, prompt_id: str) -> int:
    """In [0, 2**31 - ROOM). Sample k has this plus k."""
    digest = hashlib.sha256(f"{experiment_seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - ROOM)
