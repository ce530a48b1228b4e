"""`--scorer` on the command line: a ready scorer's name, NAME=PATH, or a YAML file of scorers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detox_ray.cluster.progress import Progress
from detox_ray.config import TOY17, ScoreConfig
from detox_ray.config.loading import read_as, validated
from detox_ray.data.rows import CSV, JSON_LINES, PARQUET
from detox_ray.run.plan import commit_world
from detox_ray.score import ResolvedScorer, definition_of, resolve
from detox_ray.score.stored_scores import ARCHIVE
from detox_ray.storage import Store

YAML = (".yaml", ".yml")
CHECKPOINTS = (".ckpt", ".pt", ".bin")


def scorer_config(given: Sequence[str]) -> ScoreConfig:
    """Return the scorers that the options name, in their order. Raises ConfigError.

    A YAML file holds what stands under ``score`` in an experiment: ``scorers``, and other fields such as
    ``batch_tokens``, of which the last file's count.
    """
    entries: list[Any] = []
    fields: dict[str, Any] = {}
    for option in given:
        name, equals, path = option.partition("=")
        if equals:
            entries.append({"name": name, **definition_at(path)})
        elif option.endswith(YAML):
            config = read_as(ScoreConfig, option, "--scorer")
            entries += [
                entry if isinstance(entry, str) else entry.model_dump(mode="json", exclude_unset=True)
                for entry in config.scorers
            ]
            fields |= config.model_dump(mode="json", exclude={"scorers"}, exclude_unset=True)
        else:
            entries.append(option)
    return validated(ScoreConfig, {**fields, "scorers": entries}, "--scorer")


def definition_at(path: str) -> dict[str, Any]:
    """Return the definition of the scorer that stands at a path.

    An archive's folder and files of scores are stored scores, a YAML file is a lexicon, a checkpoint is Detoxify's, a
    folder that holds a classifier in ONNX only is that, and any other folder or hub id is a classifier in torch.
    """
    local = Path(path).expanduser()
    if (local / ARCHIVE).is_file():
        return {"type": "stored", "format": "archive", "path": path}
    if local.suffix in CSV + JSON_LINES + PARQUET:
        return {"type": "stored", "path": path}
    if local.suffix in YAML:
        return {"type": "lexicon", "path": path}
    if local.suffix in CHECKPOINTS:
        return {"type": "detoxify", "path": path}
    if not any(local.glob("*.safetensors")) and any(local.rglob("*.onnx")):
        return {"type": "onnx", "path": path}
    return {"type": "classifier", "path": path}


def resolve_all(config: ScoreConfig, store: Store, progress: Progress) -> list[ResolvedScorer]:
    """Resolve the scorers, in their order."""
    definitions = [definition_of(entry) for entry in config.scorers]
    world = None
    if any(getattr(definition, "path", None) == TOY17 for definition in definitions):
        commit_world(store, 0, "plain", progress)
        world = TOY17
    scorers: dict[str, ResolvedScorer] = {}
    for entry, name in zip(config.scorers, config.names, strict=True):
        scorers[name] = resolve(entry, world, store, scorers)
    return list(scorers.values())
