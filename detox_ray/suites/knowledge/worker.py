"""The worker of the knowledge stage, which holds one model and answers one unit of questions per call."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.storage import Store
from detox_ray.storage.metric_spec import ALL
from detox_ray.suites.knowledge.catalogue import READY, ReadyTask
from detox_ray.suites.knowledge.harness import Answer, Harness, LoadedTask
from detox_ray.suites.knowledge.plan import Asked, rows_by_shard
from detox_ray.suites.knowledge.tables import ANSWERS, QUESTIONS
from detox_ray.suites.knowledge.task_loading import own_task, ready_task


class KnowledgeWorker:
    """A worker with a loaded model and the tasks that it has been asked so far."""

    def __init__(
        self,
        model: LoadableModel,
        asked: Mapping[tuple[str, str], Asked],
        batch_tokens: int,
        per_unit: int,
        store: Store,
    ):
        self._asked, self._per_unit, self._store = asked, per_unit, store
        self._model = CausalModel(model.local_path(store), model.loading(), model.dtype)
        self._harness = Harness(self._model, batch_tokens)
        self._tasks: dict[tuple[str, str], LoadedTask] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="knowledge-", ignore_cleanup_errors=True)

    def make(self, task: Task) -> Product:
        """Make one unit: the model's answers to its questions."""
        name, language = task.unit["task"], task.unit["language"]
        asked = self._asked[name, language]
        loaded = self._task(task, asked)
        first, last = rows_by_shard(asked, self._per_unit)[task.unit.shard]
        answers = loaded.answer(self._harness, range(first, loaded.size if last is None else min(last, loaded.size)))
        ready = READY.get(name)
        rows = [_row(answer, ready) for answer in answers]
        info: dict[str, Any] = {
            "device": self._model.device.name,
            "lm_eval": metadata.version("lm_eval"),
            "begin": self._model.codec.tokenizer.decode(self._model.codec.prefix),
            "status_counts": dict(Counter(row["status"] for row in rows)),
        }
        return Product(pa.Table.from_pylist(rows, schema=ANSWERS.columns), info, len(rows))

    def _task(self, task: Task, asked: Asked) -> LoadedTask:
        """Return a unit's task, which is loaded once for all its units."""
        key = task.unit["task"], task.unit["language"]
        if key not in self._tasks:
            folder = Path(self._folder.name) / "-".join(key)
            folder.mkdir()
            ready = READY.get(key[0])
            if ready is None:
                lm_eval_task = own_task(self._store.localize(asked.folder) / asked.file, key[0], folder)
                self._tasks[key] = LoadedTask(lm_eval_task, asked.shots)
            else:
                documents = None
                if task.inputs_of(QUESTIONS):
                    table = task.read(self._store, QUESTIONS)
                    documents = zip(table["split"].to_pylist(), table["document"].to_pylist(), strict=True)
                lm_eval_task = ready_task(ready, key[1], documents, folder, asked.commit)
                same_part = ready.part if ready.same_part_examples else None
                self._tasks[key] = LoadedTask(lm_eval_task, asked.shots, same_part)
        return self._tasks[key]


def _row(answer: Answer, ready: ReadyTask | None) -> dict[str, Any]:
    """Return a row of ANSWERS."""
    row = answer._asdict()
    document = row.pop("document")
    part, groups = ALL, []
    if ready is not None:
        part = str(document[ready.part]) if ready.part in document else ALL
        groups = [
            f"{words}{document[column]}"
            for column, words in ready.groups.items()
            if document.get(column) not in (None, "", "-")
        ]
        if ready.identity in document:
            row["question"] = str(document[ready.identity])
    return {**row, "part": part, "groups": groups}
