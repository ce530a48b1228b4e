"""The worker that generates completions, with an engine in a Ray actor."""

from typing import Any

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.config import GenerateConfig
from detox_ray.generate import engines
from detox_ray.generate.engine import Completion
from detox_ray.generate.seeds import prompt_seed, unit_seed
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.completion_tables import PROMPT_TABLES
from detox_ray.storage.tables import GENERATIONS


class Generator:
    """A worker with the engine of one model. Each call draws one unit of completions."""

    def __init__(
        self,
        model: LoadableModel,
        config: GenerateConfig,
        seed: int,
        store: Store,
        chat: bool = False,
        whole: bool = False,
    ):
        """Start the engine.

        Args:
            model: The model.
            config: The settings of sampling.
            seed: The experiment's seed.
            store: The run's folder.
            chat: Whether prompts are a user's messages, which the model's chat template wraps.
            whole: Whether prompts must not lose their beginning. A prompt that is too long is then not continued.
        """
        self._config, self._seed, self._store, self._chat, self._whole = config, seed, store, chat, whole
        name = engines.resolve_engine(config).name
        self._engine = engines.start(name, model.local_path(store), model.loading(), model.dtype, config)

    def make(self, task: Task) -> Product:
        """Draw the completions of a unit's prompts."""
        size = self._config.prompts_per_unit
        prompts = task.read_rows(self._store, task.unit.shard * size, size, *PROMPT_TABLES)
        ids = prompts["prompt_id"].to_pylist()
        seeds: list[int] | int = [prompt_seed(self._seed, prompt_id) for prompt_id in ids]
        if self._config.seeding == "unit":
            seeds = unit_seed(self._seed, task.unit)
        generated = self._engine.generate(prompts["text"].to_pylist(), seeds, self._chat)
        for place in generated.cut if self._whole else ():
            drawn = generated.completions[place]
            generated.completions[place] = [Completion("", 0, "too_long", each.seed) for each in drawn]
        rows = [
            {"prompt_id": prompt_id, "sample": sample, **completion._asdict()}
            for prompt_id, completions in zip(ids, generated.completions, strict=True)
            for sample, completion in enumerate(completions)
        ]
        assert len(rows) == len(ids) * self._config.samples, "an engine left samples out"
        tokens = sum(row["tokens"] for row in rows)
        info: dict[str, Any] = {
            "engine": self._engine.name,
            "engine_version": self._engine.version,
            "device": self._engine.device,
            "prompts": len(ids),
            "tokens": tokens,
            "truncated_prompts": len(generated.cut),
        }
        if self._config.temperature > 0:
            info["seeding"] = self._config.seeding
        return Product(pa.Table.from_pylist(rows, schema=GENERATIONS.columns), info, tokens)

    def __del__(self) -> None:
        """Close the engine when the actor discards the worker."""
        if hasattr(self, "_engine"):
            self._engine.close()
