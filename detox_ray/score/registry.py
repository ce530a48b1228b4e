"""Which scorers there are, and where their files come from. No torch.

A scorer of the user's own lives on the driver's machine: its files are copied into the run (``scorers/<name>/``), so
that any node can fetch them and the run stays what it was if the user changes them.
"""

import hashlib
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from detox_ray.config import TOY17, DetoxifyConfig, LexiconConfig, Problem, ScoreConfig, ScorerConfig
from detox_ray.languages import LANGUAGES
from detox_ray.score.scorers import Scorer
from detox_ray.store import Store, Unit, key_of

# Name -> (Detoxify's variant, languages its training data covers).
HUB = {
    "detoxify-original": ("original", ("en",)),
    "detoxify-unbiased": ("unbiased", ("en",)),
    "detoxify-multilingual": ("multilingual", ("en", "fr", "es", "it", "pt", "tr", "ru")),
}
KNOWN = (*HUB, "toy17-detoxify", "toy17-lexicon")
CHECKPOINT = "checkpoint.ckpt"
LEXICON = "lexicon.json"


class ResolvedScorer(NamedTuple):
    """What a worker needs to load a scorer on any node."""

    name: str
    type: Literal["detoxify", "lexicon"]
    hub: str | None  # Detoxify's variant; then there are no files
    folder: str | None  # in the store: a checkpoint with config and tokenizer beside it, or a lexicon
    file: str | None  # the checkpoint or lexicon in the folder
    languages: tuple[str, ...] | None  # where it has evidence; None: all
    revision: str  # of its files, or the published model's name with Detoxify's version
    key: str


def check(config: ScoreConfig) -> list[Problem]:
    """What can be seen to be wrong with the scorers before anything starts."""
    problems: list[Problem] = []
    for index, entry in enumerate(config.scorers):
        field = f"score.scorers.{index}"
        if isinstance(entry, str):
            if entry not in KNOWN:
                rule = f"unknown scorer; known: {', '.join(KNOWN)} (or define one: name, type, path)"
                problems.append(Problem(field, entry, rule))
        elif not isinstance(entry, DetoxifyConfig | LexiconConfig):
            continue
        elif not Path(entry.path).expanduser().is_file():
            problems.append(Problem(f"{field}.path", entry.path, "must be an existing file"))
        elif isinstance(entry, LexiconConfig):
            try:
                read_lexicon(Path(entry.path).expanduser())
            except ValueError as error:
                problems.append(Problem(f"{field}.path", entry.path, str(error)))
        elif (folder := entry.huggingface_config) and not (Path(folder).expanduser() / "config.json").is_file():
            rule = "must be a folder with config.json and the tokenizer"
            problems.append(Problem(f"{field}.huggingface_config", folder, rule))
    return problems


def read_lexicon(path: Path) -> dict[str, list[str]]:
    """{language: words} of a YAML or JSON file. Raises ValueError with the rule it breaks."""
    try:
        words: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot be read as YAML or JSON: {error}") from None
    if not isinstance(words, dict) or not words:
        raise ValueError("must be a mapping of language codes to lists of words")
    for language, of_language in words.items():
        if language not in LANGUAGES:
            raise ValueError(f"unknown language {language!r}; known: {' '.join(LANGUAGES)}")
        if not isinstance(of_language, list) or not all(
            isinstance(word, str) and any(character.isalnum() for character in word) for word in of_language
        ):
            raise ValueError(f"{language}: must be a list of words")
    return words


def resolve(entry: str | ScorerConfig, world: str | None, store: Store) -> ResolvedScorer:
    """A scorer by its name or definition. ``world``: folder of toy17 in the store, where the experiment uses it."""
    if isinstance(entry, DetoxifyConfig | LexiconConfig):
        return _own(entry, store)
    assert isinstance(entry, str)
    if entry in HUB:
        variant, languages = HUB[entry]
        revision = f"{variant}, detoxify {metadata.version('detoxify')}"
        return _resolved(entry, "detoxify", None, None, languages, revision, variant)
    assert world is not None and entry.startswith(TOY17), f"{entry} was checked, and needs the world"
    if entry == "toy17-lexicon":
        content = store.read_bytes(f"{world}/{LEXICON}")
        return _resolved(entry, "lexicon", world, LEXICON, tuple(json.loads(content)), _digest(content))
    folder = f"{world}/classifier"
    (file,) = (name for name in store.files(folder) if name.endswith(".ckpt"))
    revision = key_of(files={name: _digest(store.read_bytes(name)) for name in store.files(folder)})
    return _resolved(entry, "detoxify", folder, file.removeprefix(f"{folder}/"), None, revision)


def _own(entry: DetoxifyConfig | LexiconConfig, store: Store) -> ResolvedScorer:
    """A user's scorer, its files copied into the run unless they are there unchanged."""
    path = Path(entry.path).expanduser().resolve()
    languages = None if entry.languages is None else tuple(entry.languages)
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        if isinstance(entry, LexiconConfig):
            words = read_lexicon(path)
            languages = tuple(words) if languages is None else languages
            (staged / LEXICON).write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        else:
            (staged / CHECKPOINT).symlink_to(path)
            if entry.huggingface_config is not None:
                for file in Path(entry.huggingface_config).expanduser().resolve().iterdir():
                    if file.is_file() and file != path:
                        (staged / file.name).symlink_to(file)
        revision = key_of(files={file.name: _file_digest(file) for file in sorted(staged.iterdir())})
        unit, folder = Unit("scorers", (entry.name,)), f"scorers/{entry.name}"
        if store.committed("scorers").get(unit) != revision:
            store.upload(staged, folder)
            store.commit(unit, revision, None)
    return _resolved(
        entry.name, entry.type, folder, LEXICON if entry.type == "lexicon" else CHECKPOINT, languages, revision
    )


def _resolved(
    name: str,
    kind: Literal["detoxify", "lexicon"],
    folder: str | None,
    file: str | None,
    languages: tuple[str, ...] | None,
    revision: str,
    hub: str | None = None,
) -> ResolvedScorer:
    key = key_of(type=kind, revision=revision, languages=languages)
    return ResolvedScorer(name, kind, hub, folder, file, languages, revision, key)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def load(scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
    """The loaded scorer, on the node that asks."""
    if scorer.type == "lexicon":
        from detox_ray.score.lexicon import LexiconScorer

        return LexiconScorer(scorer.name, json.loads(store.read_bytes(f"{scorer.folder}/{scorer.file}")))
    from detox_ray.score.detoxify import DetoxifyScorer

    if scorer.hub is not None:
        return DetoxifyScorer.from_hub(scorer.name, scorer.hub, batch_tokens)
    assert scorer.folder is not None and scorer.file is not None
    folder = store.localize(scorer.folder)
    config_folder = folder if (folder / "config.json").is_file() else None
    return DetoxifyScorer(scorer.name, folder / scorer.file, config_folder, batch_tokens)
