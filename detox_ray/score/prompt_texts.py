"""The prompts of a worker's units of completions, read once per language instead of once per unit."""

from detox_ray.cluster.unit_jobs import Task
from detox_ray.storage import Store, Unit
from detox_ray.storage.completion_tables import PROMPT_TABLES


class PromptTexts:
    """A cache of the prompts of one language, because tasks arrive language by language."""

    def __init__(self, store: Store):
        self._store = store
        self._held: tuple[tuple[Unit, str], dict[str, str]] | None = None

    def of(self, task: Task) -> dict[str, str]:
        """Return prompt_id -> text of all prompts in the task's input."""
        source = task.input_of(*PROMPT_TABLES)
        if self._held is None or self._held[0] != source:
            prompts = self._store.read(*source)
            texts = dict(zip(prompts["prompt_id"].to_pylist(), prompts["text"].to_pylist(), strict=True))
            self._held = source, texts
        return self._held[1]
