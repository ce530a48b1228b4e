"""What can be seen to be wrong with the scorers before anything starts."""

from collections.abc import Callable
from pathlib import Path

from detox_ray import models
from detox_ray.config import (
    CalibratedConfig,
    ClassifierConfig,
    DetoxifyConfig,
    GuardConfig,
    InputError,
    LexiconConfig,
    PerspectiveConfig,
    Problem,
    ScoreConfig,
    ScorerConfig,
    StoredConfig,
)
from detox_ray.data.calibration import Calibration
from detox_ray.models.padding import check_text_alone
from detox_ray.score.catalogue import KNOWN, READY
from detox_ray.score.label_mapping import is_multi_label, labels_of, outputs_of
from detox_ray.score.lexicon import read_lexicon


def check(config: ScoreConfig, say: Callable[[str], None] = lambda note: None) -> list[Problem]:
    """Names, files, settings that exclude each other, keys that are missing. Members of derived scorers: config/.

    ``say`` gets the notes on how files were read.
    """
    problems: list[Problem] = []
    for index, entry in enumerate(config.scorers):
        field = f"score.scorers.{index}"
        if isinstance(entry, str):
            if entry not in READY:
                rule = f"unknown scorer; known: {', '.join(KNOWN)} (or define one: name, type, …)"
                problems.append(Problem(field, entry, rule))
            elif isinstance(READY[entry].config, PerspectiveConfig):
                problems += [p._replace(field=field) for p in _of_settings(READY[entry].config)]
            continue
        if entry.name in READY:
            problems.append(Problem(f"{field}.name", entry.name, "is a ready scorer's: choose another"))
        problems += [p._replace(field=f"{field}.{p.field}") for p in [*_of_files(entry, say), *_of_settings(entry)]]
    return problems


def _of_files(entry: ScorerConfig, say: Callable[[str], None]) -> list[Problem]:
    """Of the scorer's own fields."""
    if isinstance(entry, ClassifierConfig | GuardConfig):
        problems = models.check("path", entry.path)
        return problems or (_of_outputs(entry) if isinstance(entry, ClassifierConfig) else [])
    if isinstance(entry, StoredConfig):
        from detox_ray.score import stored_scores

        path = Path(entry.path).expanduser()
        return stored_scores.check(path, entry.format, say)
    if not isinstance(entry, DetoxifyConfig | LexiconConfig | CalibratedConfig):
        return []
    path = Path(entry.path).expanduser()
    if not path.is_file():
        return [Problem("path", entry.path, "must be an existing file")]
    if isinstance(entry, LexiconConfig | CalibratedConfig):
        try:
            _ = read_lexicon(path) if isinstance(entry, LexiconConfig) else Calibration.load(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            return [Problem("path", entry.path, str(error))]
    elif (folder := entry.huggingface_config) and not (Path(folder).expanduser() / "config.json").is_file():
        return [Problem("huggingface_config", folder, "must be a folder with config.json and the tokenizer")]
    return []


def _of_outputs(entry: ClassifierConfig) -> list[Problem]:
    """Say what the model's own config shows, if it is on this machine: which outputs are toxicity, and whether it reads
    texts."""
    config = models.local_config(entry.path, entry.revision)
    if config is None:
        return []
    labels = labels_of(config)
    try:
        check_text_alone(str(config.get("model_type")))
        multi = is_multi_label(config.get("problem_type"), labels)
    except InputError as error:
        return [Problem("path", entry.path, str(error))]
    if entry.attributes is not None and "toxicity" not in entry.attributes:
        return []  # said by _of_settings
    try:
        outputs_of(labels, multi, entry.attributes)
    except InputError as error:
        given = {name: output.model_dump() for name, output in (entry.attributes or {}).items()}
        return [Problem("attributes", given or None, str(error))]
    return []


def _of_settings(entry: ScorerConfig) -> list[Problem]:
    if isinstance(entry, PerspectiveConfig):
        from detox_ray.score import perspective_client

        return perspective_client.check(entry.url, entry.key_env)
    if not isinstance(entry, ClassifierConfig):
        return []
    problems = []
    if entry.attributes is not None and "toxicity" not in entry.attributes:
        problems.append(
            Problem("attributes", sorted(entry.attributes), "must say which label is toxicity: {toxicity: LABEL}")
        )
    if entry.runtime == "onnx-int8":
        if entry.dtype not in ("auto", "float32"):
            problems.append(Problem("dtype", entry.dtype, "runtime onnx-int8 has its own: leave it at auto"))
        if _has_gpu():
            problems.append(Problem("runtime", entry.runtime, "is for CPUs, and this machine has a GPU: use torch"))
    return problems


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
