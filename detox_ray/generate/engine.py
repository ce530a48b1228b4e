"""The interface of an engine, a loaded model that continues prompts. There are two, vLLM and transformers.

Both get the same token ids, truncated and decoded by `detox_ray.models.codec`, and sample in the same way: temperature,
then the smallest set of tokens with a total probability of at least top_p, without top_k. Greedy completions are equal.
Sampled ones differ, because the engines derive random numbers from a seed in different ways.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Completion(NamedTuple):
    """One sample of a prompt."""

    text: str  # without the prompt
    tokens: int  # number of generated tokens, including the end token
    finish_reason: Literal["stop", "length", "too_long"]  # too_long: the prompt did not fit and was not continued
    seed: int  # its own, or that of all completions which were drawn together


class Generated(NamedTuple):
    """The completions of several prompts, in the order of the prompts."""

    completions: list[list[Completion]]  # by prompt, then by sample
    cut: list[int]  # indices of the prompts that were too long and lost their beginning


class Engine(Protocol):
    """A loaded model that continues prompts in any language."""

    name: str
    version: str
    device: str

    def generate(self, prompts: Sequence[str], seeds: Sequence[int] | int, chat: bool = False) -> Generated:
        """Draw the samples of each prompt.

        Args:
            prompts: Texts to continue.
            seeds: A seed for each prompt: sample k uses it plus k. Or one seed for all: the same call draws the same
                completions, but each depends on all prompts. vLLM then needs ``generate.seeding: unit``.
            chat: Whether each text is a user's message, which the tokenizer's chat template wraps.
        """
        ...

    def close(self) -> None:
        """End the processes that would outlive the engine."""
        ...
