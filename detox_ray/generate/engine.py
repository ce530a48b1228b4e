"""The interface of an engine, a loaded model that continues prompts: vLLM if it is installed, else transformers.

Both get the same token ids, cut and decoded by `detox_ray.models.codec`, and sample alike: temperature, then the
smallest set of tokens whose probability is at least top_p, without top_k. Greedy completions are equal. Sampled ones
differ, because the two engines turn a seed into random numbers in different ways.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol


class Completion(NamedTuple):
    """One sample of a prompt."""

    text: str  # without the prompt
    tokens: int  # generated, the end token included
    finish_reason: Literal["stop", "length", "too_long"]  # too_long: the prompt did not fit and was not continued
    seed: int


class Generated(NamedTuple):
    """The completions of several prompts, in the prompts' order."""

    completions: list[list[Completion]]  # by prompt, then sample
    cut: list[int]  # places of the prompts that were too long and lost their beginning


class Engine(Protocol):
    """A loaded model that continues prompts in any language."""

    name: str
    version: str
    device: str

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], chat: bool = False) -> Generated:
        """Draw the samples of each prompt. Sample k is drawn with the prompt's seed + k.

        Args:
            prompts: Texts to continue.
            seeds: A seed for each prompt.
            chat: Whether each text is a user's message that the model answers, by the tokenizer's chat template.
        """
        ...

    def close(self) -> None:
        """End the processes that would outlive the engine."""
        ...
