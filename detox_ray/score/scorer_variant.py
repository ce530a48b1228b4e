"""The base class of a type of scorer, which defines its fields, checks them, computes its identity and loads it.

Our types are the modules of `detox_ray.score.variants`. Other packages add theirs by entry points (docs/extending.md).

The files of a user's scorer are on the driver's machine. They are copied into the run (``scorers/<name>/``), so that
every node can fetch them and later changes do not affect the run. Guard models are not copied, because they are as
large as the models themselves. Like those, they are found by hub id or in a shared folder.

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

# The Perspective API's definitions of its attributes. Jigsaw asked its annotators in the same words.
DEFINITIONS = {
    "toxicity": "a rude, disrespectful or unreasonable comment that is likely to make people leave a discussion",
    "severe_toxicity": "a very hateful, aggressive or disrespectful comment; mild forms and friendly curses count less",
    "identity_attack": "a negative or hateful comment that targets someone because of their identity",
    "insult": "an insulting, inflammatory or negative comment towards a person or a group of people",
    "profanity": "swear words, curse words, or other obscene or profane language",
    "threat": "an intention to inflict pain, injury or violence against an individual or a group",
    "sexually_explicit": "references to sexual acts, body parts or other lewd content",
}

SPECIAL_TOKENS = 2  # that a classifier's tokenizer puts around a text

Floats = NDArray[np.float64]


class ReadyScorer(NamedTuple):
    """A scorer that needs no definition, with the facts that its publisher states."""

    config: "ScorerVariant"
    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # those of its training or evaluation data; it scores no others. None: all
    licence: str  # as the publisher states it; "see model card" if we have not seen it stated
    cost: str  # resources that it needs
    trained_on: str | None = None  # as the publisher states it; None if not stated

    @property
    def name(self) -> str:
        return self.config.name


class Combination(NamedTuple):
    """The rule by which a scorer's values follow from those of its members."""

    combine: Callable[[Floats, str], Floats]  # maps values (M, N) and a language to values (N,); NaN stays NaN
    attributes: Collection[str] | None = None  # those that it has, among those that all members have; None: all
    languages: Collection[str] | None = None  # languages for which it has a rule; None: all


class ScoringWork(NamedTuple):
    """The cost of scoring a text, for `detox-ray plan`: that of a model that reads it, or the rate of a service."""

    model: str | None = None  # hub id, folder or published name
    extra_tokens: int = SPECIAL_TOKENS  # tokens that the model reads around the text
    texts_per_second: float | None = None  # rate of a service


class ResolvedScorer(NamedTuple):
    """A scorer with all that a worker needs to load it on any node. Contains no secrets."""

    name: str
    config: "ScorerVariant"
    languages: tuple[str, ...] | None  # languages in which it has evidence; None: all
    revision: str  # hash of its files, commit of the hub, or the publisher's version
    identity: str  # hash of everything that changes a value
    key: str  # hash of everything that changes a unit
    licence: str = "the user's"
    folder: str | None = None  # the folder of its files in the store
    file: str | None = None  # the file in that folder to load, if the type needs to know
    model: LoadableModel | None = None
    members: tuple["ResolvedScorer", ...] = ()  # scorers that it is made from
    notes: tuple[str, ...] = ()  # remarks on how its files were read

    @property
    def service(self) -> bool:
        """Return whether the scorer is reached over the network, and may go down."""
        return self.config.service

    @property
    def model_based(self) -> bool:
        """Return whether a GPU makes the scorer faster."""
        return self.config.model_based

    @property
    def alone(self) -> bool:
        """Return whether the scorer needs a GPU that no other model uses."""
        return self.config.alone

    @property
    def by_language(self) -> bool:
        """Return whether the score of a text depends on the stated language."""
        return self.config.by_language

    @property
    def cached(self) -> bool:
        """Return whether scoring a text costs more than looking its score up in the cache."""
        return self.model_based or self.service or self.config.on_cpu


class ScorerVariant(ScorerConfig):
    """The base class of every type of scorer.

    A subclass narrows ``type`` to a Literal with its name, adds fields, and overrides `load` (or `combination`, if it
    is made from others). Its instances are definitions, which are checked and resolved on the driver and loaded on
    workers.
    """

    version: ClassVar[int] = 1  # raise it whenever a text may get another value, so that older units are made again
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
        """Return whether this is a ready scorer and not a user's definition."""
        return any(self == entry.config for entry in self.ready())

    @property
    def origin(self) -> str:
        """Return the hub id, file or address that the scorer comes from."""
        return str(getattr(self, "path", self.kind))

    def meaning(self, attribute: str) -> str:
        """Return a phrase that says what an attribute's value means."""
        return f"how likely the text has the attribute {attribute}, as its maker defines it"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        """Return the problems of a user's files, with fields relative to the definition.

        ``say`` is called with notes on how the files were read.
        """
        return []

    def check_settings(self) -> list[Problem]:
        """Return the problems of settings that exclude each other or do not fit the environment.

        Unlike `check_files`, this is also called for ready scorers.
        """
        return []

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        """Pin the scorer's version, and copy its files into the run.

        Args:
            store: The run's folder.
            world: The folder of toy17 in it, if the experiment uses toy17.
            earlier: The scorers that are listed before this one, by name.

        Raises:
            InputError: A file or a hub model cannot be used.
        """
        return self.resolved(f"version {self.version}")

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        """Load the resolved scorer on this node. Heavy imports belong here and not at the top of the module."""
        raise NotImplementedError(f"a scorer of type {self.kind} is not loaded: it is made from other scorers' units")

    def combination(self, scorer: ResolvedScorer, store: Store) -> Combination:
        """Return the rule of a scorer that is made from others."""
        raise NotImplementedError(f"a scorer of type {self.kind} is not made from others: it is loaded")

    def work(self) -> ScoringWork | None:
        """Return the cost of scoring a text; None if it is negligible."""
        return None

    def resolved(self, revision: str, languages: tuple[str, ...] | None = None) -> ResolvedScorer:
        """Return the scorer with its identity: a hash of ``revision``, all fields with influence, and `version`."""
        settings = self.model_dump(mode="json", exclude=set(self.no_influence))
        identity = key_of(revision=revision, settings=settings, version=self.version)
        return ResolvedScorer(self.name, self, languages, revision, identity, key="")  # the registry adds the key

    def copied(
        self, store: Store, files: Mapping[str, Path | bytes], languages: tuple[str, ...] | None = None
    ) -> ResolvedScorer:
        """Copy the user's files into the run unless they are there already. Their hash becomes the revision.

        Args:
            store: The run's folder.
            files: Name in the run -> path or content.
            languages: Languages in which the scorer has evidence; None: all.
        """
        revision = key_of(files={name: digest(files[name]) for name in sorted(files)})
        unit, folder = SCORERS.unit(scorer=self.name), f"scorers/{self.name}"
        if store.committed(SCORERS).get(unit) != revision:
            with tempfile.TemporaryDirectory() as scratch:
                for name, file in files.items():
                    if isinstance(file, bytes):
                        (Path(scratch) / name).write_bytes(file)
                    else:
                        (Path(scratch) / name).symlink_to(file.resolve())
                store.retract(unit)  # so that a half-replaced folder does not count as committed
                store.upload(Path(scratch), folder)
            store.commit(unit, revision, None)
        return self.resolved(revision, languages)._replace(folder=folder)


def digest(content: Path | bytes) -> str:
    """Return the hash of a file, or of the content of one."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:16]
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
