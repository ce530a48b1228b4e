"""Costs: what a stage will take, estimated before anything is spent: for `detox-ray plan`."""

from typing import NamedTuple, Protocol

from detox_ray.config import Experiment

NOT_ESTIMATED = "not estimated"  # begins the assumption of work whose time is not known


class Cost(NamedTuple):
    """One thing that will run."""

    stage: str  # the command that runs it
    what: str
    tokens: float  # that models read and write; 0 if it runs no model
    hours: float  # on the wall
    device_hours: float  # of GPUs; of CPU cores if there are none
    assumption: str  # on what ground


class DeviceMemory(NamedTuple):
    """The memory that one device must have at the same time for a stage's work."""

    stage: str  # the command that runs it
    what: str
    bytes: int
    limit: int  # bytes that the device has for it
    assumption: str  # what the bytes are
    advice: str  # what to change if it does not fit

    @property
    def fits(self) -> bool:
        return self.bytes <= self.limit


class Workload(Protocol):
    """The work that an experiment asks of its stages, and how fast devices are assumed to be (`detox_ray.estimate`)."""

    @property
    def experiment(self) -> Experiment: ...

    @property
    def completions(self) -> int:
        """Completions of all models."""

    @property
    def sequence(self) -> float:
        """Tokens of a prompt with its completion, mean."""

    @property
    def held_out(self) -> int:
        """Held-out texts of all languages."""

    @property
    def labelled(self) -> int:
        """Labelled texts of all languages."""

    @property
    def openings(self) -> int:
        """Harmless texts to continue, of all languages."""

    @property
    def counted(self) -> str:
        """How the texts were counted."""

    def training(self) -> list[Cost]:
        """Return what all trainings take."""

    def generation(self, model: str) -> Cost:
        """Return what generating with a model takes."""

    def completing(self, stage: str, what: str, model: str, prompts: int, tokens: float, new: int, ground: str) -> Cost:
        """Return what one completion of so many prompts takes, of ``tokens`` tokens with up to ``new`` more."""

    def scoring(self, scorer: str, texts: int) -> list[Cost]:
        """Return what scoring so many texts by a scorer of the experiment takes; empty if it is looked up."""

    def forward(self, model: str, length: float) -> float:
        """Operations per token of a model of the experiment over sequences of ``length`` tokens."""

    def weights(self, model: str) -> int:
        """Bytes of a model of the experiment as it is loaded to generate."""

    def cache(self, model: str, tokens: int) -> int:
        """Bytes of the keys and values of so many tokens."""

    def mlp_width(self, model: str) -> int:
        """Neurons of a layer of a model of the experiment."""

    @property
    def device_bytes(self) -> int:
        """Bytes that one device may hold."""

    def parameters(self, path: str) -> int | None:
        """Parameters of a published model that is no model of the experiment; None if they are not known here."""

    def computed(self, stage: str, what: str, tokens: float, operations: float, assumption: str) -> Cost:
        """Work that all devices share: so many operations at the assumed speed."""

    def per_completion(self, stage: str, what: str) -> Cost:
        """Work without a model on every completion, on all cores of this machine."""


def timed(stage: str, what: str, seconds: float, assumption: str) -> Cost:
    """Work on the driver that is assumed to take some seconds."""
    return Cost(stage, what, 0, seconds / 3600, 0, assumption)


def unknown(stage: str, what: str) -> Cost:
    """Work that cannot be estimated, and says so."""
    return Cost(stage, what, 0, 0, 0, f"{NOT_ESTIMATED}: its number of parameters is not known here")
