"""What an engine is: a loaded model that continues prompts. vLLM's if it is installed; transformers' otherwise.

Both get the same token ids, cut and decoded by `detox_ray.models.codec`, and sample alike: temperature, then the
smallest set of tokens with probability of at least top_p, no top_k. Greedy completions are equal. Sampled ones are not,
for the two turn a seed into randomness in different ways.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Completion(NamedTuple):
    """One sample."""

    text: str  # without the prompt
    tokens: int  # generated, the end token included
    finish_reason: Literal["stop", "length"]
    seed: int


class Generated(NamedTuple):
    """Of some prompts, in their order."""

    completions: list[list[Completion]]  # per prompt, one per sample
    cut: int  # prompts that were too long and lost their beginning


class Engine(Protocol):
    """A loaded model that continues prompts in any language."""

    name: str
    version: str
    device: str

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Generated:
        """Samples of each prompt; sample k of a prompt has its seed + k."""
        ...

    def close(self) -> None:
        """End what would outlive the engine."""
        ...
