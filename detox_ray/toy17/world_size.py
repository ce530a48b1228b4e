"""The size of a world: everything that differs between small and large worlds."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from detox_ray.config import TOY17_CONTEXT
from detox_ray.toy17.grammar import Mixture

Report = Callable[[str, int, int, float], None]  # (name of the step, steps done, steps in total, latest loss)


class WorldSize(BaseModel):
    """The sizes of a world. The defaults are those of the demo; `small` is for tests that do not need a good model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mixture: Mixture = Mixture()
    # True: both models are those of the default world with the same seed, and the language model is trained further.
    continued: bool = Field(False, exclude_if=lambda value: not value)
    documents: int = Field(50_000, ge=100)  # number of documents in the corpus
    # language model
    pieces: int = Field(1200, ge=258)  # tokens other than whole words: bytes and merges
    width: int = Field(128, ge=32, multiple_of=32)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)  # head size must be a multiple of 32 (vLLM on CPU)
    inner: int = Field(352, ge=32)  # width inside the MLP
    positions: int = Field(TOY17_CONTEXT, ge=64)
    steps: int = Field(900, ge=1)
    batch: int = Field(32, ge=1)  # rows per step
    length: int = Field(48, ge=8)  # tokens per row
    learning_rate: float = Field(3e-3, gt=0)
    # classifier
    classifier_width: int = Field(64, ge=16, multiple_of=4)
    classifier_layers: int = Field(2, ge=1)
    classifier_steps: int = Field(400, ge=1)
    classifier_batch: int = Field(64, ge=1)
    classifier_learning_rate: float = Field(2e-3, gt=0)
    # data
    prompts: int = Field(100, ge=1)  # per language
    pairs: int = Field(2048, ge=1)
    texts: int = Field(40, ge=1)  # per language
    labelled: int = Field(120, ge=2)  # per language, half of them with an insult

    @classmethod
    def with_stereotype(cls) -> "WorldSize":
        """Return the size of the world in which texts praise scholars and workers for different traits."""
        return cls(mixture=Mixture(stereotype=0.97, person=0.8), continued=True, documents=30_000, steps=480)

    @classmethod
    def small(cls) -> "WorldSize":
        """Return a size that builds in seconds. Every file exists, but the models have hardly learned."""
        return cls(
            documents=1000,
            pieces=300,
            width=32,
            layers=2,
            heads=1,
            inner=64,
            steps=20,
            batch=16,
            classifier_width=16,
            classifier_layers=1,
            classifier_steps=20,
            prompts=6,
            pairs=48,
            texts=4,
            labelled=40,
        )
