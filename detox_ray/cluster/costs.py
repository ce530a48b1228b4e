"""Costs of stages, estimated before a run for `detox-ray plan`."""

from typing import NamedTuple, Protocol

from detox_ray.config import Experiment

NOT_ESTIMATED = "not estimated"  # first words of the assumption for work of unknown duration


class Cost(NamedTuple):
    """The estimated cost of one piece of work."""

    stage: str  # the command that runs it
    what: str
    tokens: float  # tokens that models read and write; 0 for work without a model
    hours: float  # wall-clock time
    device_hours: float  # of GPUs; of CPU cores if there are none
    assumption: str  # basis of the estimate


class DeviceMemory(NamedTuple):
    """The memory that a stage's work needs on one device at the same time."""

    stage: str  # the command that runs it
    what: str
    bytes: int
    limit: int  # available bytes of the device
    assumption: str  # what the bytes consist of
    advice: str  # what to change if it does not fit

    @property
    def fits(self) -> bool:
        return self.bytes <= self.limit


class Workload(Protocol):
    """The amounts of work in an experiment, and the assumed speed of devices (`detox_ray.estimate`)."""

    @property
    def experiment(self) -> Experiment: ...

    @property
    def completions(self) -> int:
        """Return the number of completions of all models."""

    @property
    def sequence(self) -> float:
        """Return the mean number of tokens of a prompt with its completion."""

    @property
    def held_out(self) -> int:
        """Return the number of held-out texts in all languages."""

    @property
    def labelled(self) -> int:
        """Return the number of labelled texts in all languages."""

    @property
    def openings(self) -> int:
        """Return the number of harmless texts to continue in all languages."""

    @property
    def counted(self) -> str:
        """Return a note on how the texts were counted."""

    def training(self) -> list[Cost]:
        """Return the costs of all trainings."""

    def generation(self, model: str) -> Cost:
        """Return the cost of generation with a model."""

    def completing(self, stage: str, what: str, model: str, prompts: int, tokens: float, new: int, ground: str) -> Cost:
        """Return the cost of one completion of up to ``new`` tokens for each prompt of ``tokens`` tokens."""

    def scoring(self, scorer: str, texts: int) -> list[Cost]:
        """Return the costs of scoring texts by a scorer of the experiment; empty if scores are stored."""

    def forward(self, model: str, length: float) -> float:
        """Return a model's operations per token over sequences of ``length`` tokens."""

    def weights(self, model: str) -> int:
        """Return the bytes of a model as loaded for generation."""

    def cache(self, model: str, tokens: int) -> int:
        """Return the bytes of the keys and values of some tokens."""

    def mlp_width(self, model: str) -> int:
        """Return the number of neurons in a layer of a model."""

    @property
    def device_bytes(self) -> int:
        """Return the available bytes of one device."""

    def parameters(self, path: str) -> int | None:
        """Return the parameters of a published model outside the experiment, or None if the number is unknown."""

    def computed(self, stage: str, what: str, tokens: float, operations: float, assumption: str) -> Cost:
        """Return the cost of operations that all devices share at the assumed speed."""

    def per_completion(self, stage: str, what: str) -> Cost:
        """Return the cost of work without a model on every completion, on all cores of this machine."""


def timed(stage: str, what: str, seconds: float, assumption: str) -> Cost:
    """Return the cost of work on the driver with an assumed duration."""
    return Cost(stage, what, 0, seconds / 3600, 0, assumption)


def unknown(stage: str, what: str) -> Cost:
    """Return the entry for work that cannot be estimated."""
    return Cost(stage, what, 0, 0, 0, f"{NOT_ESTIMATED}: its number of parameters is unknown")
