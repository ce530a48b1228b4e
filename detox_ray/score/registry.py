"""From a scorer's name or definition to something that any node can load. No torch.

A scorer of the user's own lives on the driver's machine: its files are copied into the run (``scorers/<name>/``), so
that any node can fetch them and the run stays what it was if the user changes them. A guard model is not: it is as
large as the models themselves, and as these it is found by hub id or on a shared folder.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from detox_ray import models
from detox_ray.config import (
    TOY17,
    CalibratedConfig,
    ClassifierConfig,
    DetoxifyConfig,
    EnsembleConfig,
    GuardConfig,
    InputError,
    LexiconConfig,
    PerspectiveConfig,
    ScorerConfig,
    StoredConfig,
)
from detox_ray.data.calibration import Calibration
from detox_ray.models import LoadableModel
from detox_ray.score.catalogue import READY
from detox_ray.score.lexicon import read_lexicon
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of
from detox_ray.storage.tables import SCORERS

CHECKPOINT = "checkpoint.ckpt"
LEXICON = "lexicon.json"
CALIBRATION = "calibration.json"
# Of scorers' code, by type (else 1). Raise one whenever its values change: no unit and no cache then keeps old ones.
VERSIONS = {
    "classifier": 2,  # 1 padded decoders with other tokens than they look for, and left token types out
    "lexicon": 2,  # 1 missed words with invisible or full-width characters
}
MODEL_FILES = (".safetensors", ".json", ".model", ".txt")  # of a classifier's folder: weights, config, tokenizer


class ResolvedScorer(NamedTuple):
    """What a worker needs to load a scorer on any node. Holds no secret."""

    name: str
    config: ScorerConfig  # a ready scorer's comes from the catalogue
    languages: tuple[str, ...] | None  # where it has evidence; None: all
    revision: str  # of its files, the hub's commit, or what the publisher names
    identity: str  # changes with all that changes a value
    key: str  # and with all that changes a unit
    licence: str = "the user's"
    folder: str | None = None  # in the store
    file: str | None = None  # in the folder
    model: LoadableModel | None = None  # of a classifier or guard
    members: tuple["ResolvedScorer", ...] = ()  # of a derived scorer
    notes: tuple[str, ...] = ()  # how its files were read

    @property
    def service(self) -> bool:
        """Asked over the network, and may go down."""
        return isinstance(self.config, PerspectiveConfig)

    @property
    def model_based(self) -> bool:
        """Whether a GPU makes it faster."""
        return isinstance(self.config, DetoxifyConfig | ClassifierConfig | GuardConfig)

    @property
    def cached(self) -> bool:
        """Whether asking costs more than looking up what it said before."""
        return self.model_based or self.service

    @property
    def by_language(self) -> bool:
        """Whether its answer to a text depends on the language that it is told."""
        return isinstance(self.config, PerspectiveConfig)


def resolve(
    entry: str | ScorerConfig,
    world: str | None,
    store: Store,
    earlier: Mapping[str, ResolvedScorer] = MappingProxyType({}),
) -> ResolvedScorer:
    """A scorer by its name or definition. ``world``: folder of toy17 in the store, where the experiment uses it;
    ``earlier``: the scorers that stand before it, by name.

    Raises InputError for a hub model that cannot be had or has no safetensors, and for a calibration of other scores.
    """
    known = READY[entry] if isinstance(entry, str) else None
    config = READY[entry].config if isinstance(entry, str) else entry
    found = _resolve(config, world, store, earlier)
    languages = tuple(config.languages) if config.languages is not None else found.languages
    if known is not None:
        languages = known.languages if known.languages is not None else languages
        found = found._replace(licence=known.licence)
    key = key_of(identity=found.identity, languages=languages, members=[member.key for member in found.members])
    return found._replace(languages=languages, key=key)


def _resolve(
    config: ScorerConfig, world: str | None, store: Store, earlier: Mapping[str, ResolvedScorer]
) -> ResolvedScorer:
    """Without what the catalogue or the user says of its languages."""
    if isinstance(config, DetoxifyConfig | LexiconConfig) and config.name in READY and config.path == TOY17:
        assert world is not None, f"{config.name} needs the world"
        return _of_world(config, world, store)
    if isinstance(config, DetoxifyConfig):
        return _detoxify(config, store)
    if isinstance(config, LexiconConfig):
        words = read_lexicon(Path(config.path).expanduser())
        content = json.dumps(words, ensure_ascii=False).encode()
        return _own(config, store, {LEXICON: content}, tuple(words))._replace(file=LEXICON)
    if isinstance(config, ClassifierConfig | GuardConfig):
        return _model(config, store)
    if isinstance(config, PerspectiveConfig):
        from detox_ray.score import perspective_client

        return _resolved(
            config, perspective_client.revision(config.url, config.attributes), perspective_client.LANGUAGES
        )
    if isinstance(config, StoredConfig):
        from detox_ray.score import stored_scores

        path = Path(config.path).expanduser()
        files: dict[str, Path | bytes] = {file.name: file for file in stored_scores.files(path, config.format)}
        said = stored_scores.read(path, config.format)
        found = _own(config, store, files, said.languages)
        identity = key_of(files=found.identity, version=stored_scores.VERSION)
        file = next(iter(files)) if path.is_file() else None
        return found._replace(file=file, identity=identity, notes=said.notes)
    if isinstance(config, EnsembleConfig):
        members = tuple(earlier[name] for name in config.members)
        sets = [set(member.languages) for member in members if member.languages is not None]
        languages = tuple(sorted(set.intersection(*sets))) if sets else None
        identity = key_of(members=[member.identity for member in members], combine=config.combine)
        return _resolved(config, identity, languages)._replace(members=members)
    return _calibrated(config, earlier[config.of], store)


def _of_world(config: DetoxifyConfig | LexiconConfig, world: str, store: Store) -> ResolvedScorer:
    if isinstance(config, LexiconConfig):
        content = store.read_bytes(f"{world}/{LEXICON}")
        found = _resolved(config, _digest(content), tuple(json.loads(content)))
        return found._replace(folder=world, file=LEXICON)
    folder = f"{world}/classifier"
    (file,) = (name for name in store.files(folder) if name.endswith(".ckpt"))
    revision = key_of(files={name: _digest(store.read_bytes(name)) for name in store.files(folder)})
    return _resolved(config, revision, None)._replace(folder=folder, file=file.removeprefix(f"{folder}/"))


def _detoxify(config: DetoxifyConfig, store: Store) -> ResolvedScorer:
    if config.name in READY:  # a published one, whose path is its variant
        return _resolved(config, f"{config.path}, detoxify {metadata.version('detoxify')}", None)
    path = Path(config.path).expanduser().resolve()
    files: dict[str, Path | bytes] = {CHECKPOINT: path}
    if config.huggingface_config is not None:
        inside = Path(config.huggingface_config).expanduser().resolve().iterdir()
        files |= {file.name: file for file in inside if file.is_file() and file != path}
    return _own(config, store, files, None)._replace(file=CHECKPOINT)


def _model(config: ClassifierConfig | GuardConfig, store: Store) -> ResolvedScorer:
    model = models.resolve_path(config.name, config.path, config.revision, config.dtype)
    found = _resolved(config, model.revision or model.key, None)
    if isinstance(config, GuardConfig):
        from detox_ray.score import guard_scorer

        found = found._replace(identity=key_of(model=found.identity, prompts=guard_scorer.VERSION))
    elif model.revision is None:
        files: dict[str, Path | bytes] = {
            file.name: file for file in Path(model.location).iterdir() if file.suffix in MODEL_FILES
        }
        found = _own(config, store, files, None)
        assert found.folder is not None
        model = model._replace(location=found.folder, in_store=True)
    return found._replace(model=model)


def _calibrated(config: CalibratedConfig, member: ResolvedScorer, store: Store) -> ResolvedScorer:
    content = Path(config.path).expanduser().read_bytes()
    try:
        calibration = Calibration.load(content.decode())
        calibration.check(member.name, member.identity)
    except InputError as error:
        raise InputError(f"scorer {config.name}: {config.path}: {error}") from None
    languages = tuple(c for c in calibration.languages if member.languages is None or c in member.languages)
    found = _own(config, store, {CALIBRATION: content}, languages)
    identity = key_of(map=found.identity, member=member.identity)
    return found._replace(file=CALIBRATION, identity=identity, members=(member,))


def _own(
    config: ScorerConfig, store: Store, files: Mapping[str, Path | bytes], languages: tuple[str, ...] | None
) -> ResolvedScorer:
    """A user's scorer, its files (name -> path or content) copied into the run unless they are there unchanged."""
    revision = key_of(files={name: _digest(files[name]) for name in sorted(files)})
    unit, folder = SCORERS.unit(scorer=config.name), f"scorers/{config.name}"
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
    return _resolved(config, revision, languages)._replace(folder=folder)


def _resolved(config: ScorerConfig, revision: str, languages: tuple[str, ...] | None) -> ResolvedScorer:
    """``resolve`` fills in the key."""
    settings = config.model_dump(mode="json", exclude=set(config.no_influence))
    version = VERSIONS.get(config.type, 1)
    identity = key_of(revision=revision, settings=settings, version=version)
    return ResolvedScorer(config.name, config, languages, revision, identity, "")


def _digest(content: Path | bytes) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:16]
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def load(scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
    """The loaded scorer, on the node that asks. A derived one is not loaded (derived_scorers.py)."""
    config = scorer.config
    if isinstance(config, LexiconConfig):
        from detox_ray.score.lexicon import LexiconScorer

        return LexiconScorer(scorer.name, json.loads(store.read_bytes(f"{scorer.folder}/{scorer.file}")))
    if isinstance(config, PerspectiveConfig):
        from detox_ray.score.perspective_client import PerspectiveScorer

        return PerspectiveScorer(**config.model_dump(exclude={"type", "languages"}))
    if isinstance(config, ClassifierConfig):
        from detox_ray.score.classifier_scorer import ClassifierScorer

        assert scorer.model is not None
        model = scorer.model
        return ClassifierScorer(config, model.local_path(store), model.loading(), model.key, batch_tokens)
    if isinstance(config, GuardConfig):
        from detox_ray.score.guard_scorer import GuardScorer

        assert scorer.model is not None
        model = scorer.model
        return GuardScorer(scorer.name, model.local_path(store), model.loading(), config.format, config.dtype)
    folder = store.localize(scorer.folder) if scorer.folder is not None else None
    if isinstance(config, StoredConfig):
        from detox_ray.score.stored_scores import StoredScorer

        assert folder is not None
        return StoredScorer(scorer.name, folder / scorer.file if scorer.file else folder, config.format)
    assert isinstance(config, DetoxifyConfig), f"{scorer.name} is made from other scorers' units"
    from detox_ray.score.detoxify_scorer import DetoxifyScorer

    if folder is None:
        return DetoxifyScorer.from_hub(scorer.name, config.path, batch_tokens)
    assert scorer.file is not None
    config_folder = folder if (folder / "config.json").is_file() else None
    return DetoxifyScorer(scorer.name, folder / scorer.file, config_folder, batch_tokens)
