"""What a type of scorer is: one class that holds its fields, checks them, makes its identity and loads it.

Ours are the modules of `detox_ray.score.variants`; other packages add theirs by entry points (docs/extending.md).

A scorer of the user's own lives on the driver's machine: its files are copied into the run (``scorers/<name>/``), so
that any node can fetch them and the run stays what it was if the user changes them. A guard model is not: it is as
large as the models themselves, and as these it is found by hub id or on a shared folder.

Shapes: M members, N texts.
"""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detox_ray.config import Problem, ScorerConfig
from detox_ray.models import LoadableModel
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of
from detox_ray.storage.tables import SCORERS

# What the Perspective API says of its attributes; Jigsaw asked its annotators in the same words.
DEFINITIONS = {
    "toxicity": "a rude, disrespectful or unreasonable comment that is likely to make people leave a discussion",
    "severe_toxicity": "a very hateful, aggressive or disrespectful comment; mild forms and friendly curses count less",
    "identity_attack": "a negative or hateful comment that targets someone because of their identity",
    "insult": "an insulting, inflammatory or negative comment towards a person or a group of people",
    "profanity": "swear words, curse words, or other obscene or profane language",
    "threat": "an intention to inflict pain, injury or violence against an individual or a group",
    "sexually_explicit": "references to sexual acts, body parts or other lewd content",
}

SPECIAL_TOKENS = 2  # around a text, in a classifier

Floats = NDArray[np.float64]


class ReadyScorer(NamedTuple):
    """A scorer that needs no definition, and what its publisher says of it."""

    config: "ScorerVariant"
    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # of its training or evaluation data; it scores no others. None: all
    licence: str  # as stated by the publisher; "see model card" if we have not seen it stated
    cost: str  # what it needs
    trained_on: str | None = None  # as its publisher states it; None if that is not stated

    @property
    def name(self) -> str:
        return self.config.name


class Combination(NamedTuple):
    """The rule by which a scorer's values follow from those of its members."""

    combine: Callable[[Floats, str], Floats]  # (M, N) values and a language -> (N,); NaN stays NaN
    attributes: Collection[str] | None = None  # that it gives, of those that all members have; None: all of these
    languages: Collection[str] | None = None  # in which it has a rule; None: all


class ScoringWork(NamedTuple):
    """What a text costs, for `detox-ray plan`: a model reads it, or a service answers so many a second."""

    model: str | None = None  # hub id, folder or published name
    extra_tokens: int = SPECIAL_TOKENS  # that the model reads around the text
    texts_per_second: float | None = None


class ResolvedScorer(NamedTuple):
    """What a worker needs to load a scorer on any node. Holds no secret."""

    name: str
    config: "ScorerVariant"
    languages: tuple[str, ...] | None  # in which it has evidence; None: all
    revision: str  # of its files, the hub's commit, or what the publisher names
    identity: str  # changes with all that changes a value
    key: str  # changes with all that changes a unit
    licence: str = "the user's"
    folder: str | None = None  # of its files, in the store
    file: str | None = None  # the one in the folder that is loaded, if its type needs to know
    model: LoadableModel | None = None
    members: tuple["ResolvedScorer", ...] = ()  # the scorers from which it is made
    notes: tuple[str, ...] = ()  # how its files were read

    @property
    def service(self) -> bool:
        """Whether it is asked over the network, and may go down."""
        return self.config.service

    @property
    def model_based(self) -> bool:
        """Whether a GPU makes it faster."""
        return self.config.model_based

    @property
    def alone(self) -> bool:
        """Whether it needs a GPU that no other model uses."""
        return self.config.alone

    @property
    def by_language(self) -> bool:
        """Whether its score of a text depends on the language that it is given."""
        return self.config.by_language

    @property
    def cached(self) -> bool:
        """Whether asking it costs more than looking up its earlier score."""
        return self.model_based or self.service or self.config.on_cpu


class ScorerVariant(ScorerConfig):
    """The base class of every type of scorer.

    A subclass narrows ``type`` to a Literal with its name, adds fields, and overrides `load` (or `combination`, if it
    is made from others). Its instances are definitions: checked and resolved on the driver, loaded on workers.
    """

    version: ClassVar[int] = 1  # raise it whenever the same text may get another value: older units are made again
    model_based: ClassVar[bool] = False
    on_cpu: ClassVar[bool] = False  # a network that no GPU makes faster
    service: ClassVar[bool] = False
    by_language: ClassVar[bool] = False
    alone: ClassVar[bool] = False

    @classmethod
    def ready(cls) -> Sequence[ReadyScorer]:
        """Return the scorers of this type that are known by name."""
        return ()

    @property
    def is_ready(self) -> bool:
        """Whether this is a ready scorer and not a user's definition."""
        return any(self == entry.config for entry in self.ready())

    @property
    def origin(self) -> str:
        """The hub id, file or address that the scorer comes from."""
        return str(getattr(self, "path", self.kind))

    def meaning(self, attribute: str) -> str:
        """Return what a value of an attribute means, in a sentence."""
        return f"how likely the text has the attribute {attribute}, by a definition that is its maker's"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        """Check the files of a user's scorer. ``say`` gets notes on how they were read. Fields are the scorer's own."""
        return []

    def check_settings(self) -> list[Problem]:
        """Check the settings against each other and the environment, of a ready scorer, too."""
        return []

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        """Pin what the scorer stands for, and copy its files into the run.

        Args:
            store: The run's folder.
            world: The folder of toy17 in it, if the experiment uses toy17.
            earlier: The scorers that stand before this one, by name.

        Raises:
            InputError: If a file or a hub model cannot be used.
        """
        return self.resolved(f"version {self.version}")

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        """Load the resolved scorer on the node that asks. Heavy imports belong here, not at the top of the module."""
        raise NotImplementedError(f"a scorer of type {self.kind} is not loaded: it is made from other scorers' units")

    def combination(self, scorer: ResolvedScorer, store: Store) -> Combination:
        """Return the rule of a scorer that is made from others."""
        raise NotImplementedError(f"a scorer of type {self.kind} is not made from others: it is loaded")

    def work(self) -> ScoringWork | None:
        """Return what a text costs; None if next to nothing."""
        return None

    def resolved(self, revision: str, languages: tuple[str, ...] | None = None) -> ResolvedScorer:
        """Give the scorer its identity: a hash of ``revision``, of all fields with influence, and of `version`."""
        settings = self.model_dump(mode="json", exclude=set(self.no_influence))
        identity = key_of(revision=revision, settings=settings, version=self.version)
        return ResolvedScorer(self.name, self, languages, revision, identity, key="")  # the registry adds the key

    def copied(
        self, store: Store, files: Mapping[str, Path | bytes], languages: tuple[str, ...] | None = None
    ) -> ResolvedScorer:
        """Copy the user's files (name -> path or content) into the run unless they are there; their hash is the
        revision."""
        revision = key_of(files={name: digest(files[name]) for name in sorted(files)})
        unit, folder = SCORERS.unit(scorer=self.name), f"scorers/{self.name}"
        if store.committed(SCORERS).get(unit) != revision:
            with tempfile.TemporaryDirectory() as scratch:
                for name, file in files.items():
                    if isinstance(file, bytes):
                        (Path(scratch) / name).write_bytes(file)
                    else:
                        (Path(scratch) / name).symlink_to(file.resolve())
                store.retract(unit)  # a folder that is half replaced is no unit
                store.upload(Path(scratch), folder)
            store.commit(unit, revision, None)
        return self.resolved(revision, languages)._replace(folder=folder)


def digest(content: Path | bytes) -> str:
    """Return a hash of a file, or of what one would hold."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:16]
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
