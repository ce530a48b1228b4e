"""Loading of lm-evaluation-harness tasks from their YAML, with questions from local files or the hub."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from lm_eval.tasks import TaskManager

from detox_ray.suites.knowledge.catalogue import ReadyTask


def ready_task(
    ready: ReadyTask,
    language: str,
    documents: "Iterable[tuple[str, str]] | None",
    folder: Path,
    commit: str | None = None,
) -> Any:
    """Load a ready task of lm_eval.

    Args:
        ready: The ready task.
        language: The language of the questions.
        documents: Split and JSON of each question; if None, lm_eval reads them from the hub.
        folder: Folder for the task's files, which must outlive the task.
        commit: Commit of the questions on the hub.
    """
    config: dict[str, Any] = {"task": f"{ready.name}-{language}", **ready.config}
    if ready.template is not None:
        config["include"] = str(_tasks() / ready.template)
    if documents is None:
        config |= {"dataset_path": ready.source, "dataset_name": language, "dataset_kwargs": {"revision": commit}}
    else:
        files: dict[str, Path] = {}
        lines: dict[str, list[str]] = {}
        for split, document in documents:
            lines.setdefault(split, []).append(document + "\n")
        for split, rows in lines.items():
            files[split] = folder / f"{split}.jsonl"
            files[split].write_text("".join(rows), encoding="utf-8")
        data_files = {split: str(file) for split, file in files.items()}
        cache = str(folder / "cache")
        config |= {"dataset_path": "json", "dataset_name": None}
        config["dataset_kwargs"] = {"data_files": data_files, "cache_dir": cache}
        if ready.examples not in files:
            config["training_split"] = None  # without examples, the number of shots is 0
    return _loaded(config, folder)


def own_task(path: Path, name: str, folder: Path) -> Any:
    """Load a task from a user's YAML; paths of data files are relative to it."""
    config: dict[str, Any] = {"include": str(path), "task": name}
    kwargs = _plain_yaml(path).get("dataset_kwargs") or {}
    if "data_files" in kwargs:
        config["dataset_kwargs"] = {
            **kwargs,
            "data_files": _absolute(kwargs["data_files"], path.parent),
            "cache_dir": str(folder / "cache"),
        }
    return _loaded(config, folder)


def _loaded(config: dict[str, Any], folder: Path) -> Any:
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    loaded = TaskManager(include_defaults=False).load([str(file)])
    (task,) = loaded["tasks"].values()
    return task


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, dict):
        return {name: _absolute(inner, folder) for name, inner in files.items()}
    if isinstance(files, list):
        return [_absolute(inner, folder) for inner in files]
    return str(folder / files) if "://" not in files else files


def _tasks() -> Path:
    spec = find_spec("lm_eval.tasks")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


class _Loader(yaml.SafeLoader):
    """A YAML loader for lm_eval's files that does not execute their functions."""


_Loader.add_multi_constructor("!", lambda *_: None)


def _plain_yaml(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader
    return content if isinstance(content, dict) else {}
