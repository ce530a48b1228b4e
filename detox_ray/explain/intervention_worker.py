"""The worker that edits models: offsets of a parent's sources, or transplants between a tuned model and its parent."""

from collections.abc import Sequence

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.config import GenerateConfig
from detox_ray.explain import tables
from detox_ray.explain.activation_tables import NeuronSets, from_rows, source_ranks, source_rows
from detox_ray.explain.interventions import (
    Intervention,
    Prompts,
    most_changed,
    offsets,
    outcomes,
    transplants,
    untouched,
)
from detox_ray.explain.settings import Settings
from detox_ray.generate.transformers_engine import TransformersEngine
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.mlp import Mlps
from detox_ray.score import ResolvedScorer
from detox_ray.score.cached_scorer import CachedScorer
from detox_ray.storage import Store
from detox_ray.storage.tables import OK, PROMPTS, TEXTS


class InterventionWorker:
    """Holds one model, or a tuned model and its parent; makes one language's INTERVENTIONS per call.

    Args:
        model: the model of the units: a parent (offsets) or a tuned model (transplants).
        parent: the parent of a tuned model; None of a parent.
        settings: of the stage.
        generate: how edited models continue prompts.
        seed: the experiment's.
        scorer: of completions.
        batch_tokens: of the scorer.
        store: the run's.
    """

    def __init__(
        self,
        model: LoadableModel,
        parent: LoadableModel | None,
        settings: Settings,
        generate: GenerateConfig,
        seed: int,
        scorer: ResolvedScorer,
        batch_tokens: int,
        store: Store,
    ):
        self._settings, self._seed, self._store = settings, seed, store
        self._name, self._parent = model.name, parent and parent.name
        self._models = {
            each.name: CausalModel(each.local_path(store), each.loading(), each.dtype, settings.config.gpus_per_model)
            for each in (model, parent)
            if each is not None
        }
        self._mlps = {name: Mlps(loaded.network) for name, loaded in self._models.items()}
        self._engines = {name: TransformersEngine(loaded, generate) for name, loaded in self._models.items()}
        self._scorer = CachedScorer(scorer, batch_tokens, store)

    def make(self, task: Task) -> Product:
        """Make what the edits do in one language."""
        config = self._settings.config
        prompts = task.read(self._store, PROMPTS).slice(0, config.edited_prompts)
        held_out = [self._store.read(unit, key).slice(0, config.edited_texts) for unit, key in task.inputs_of(TEXTS)]
        given = Prompts(
            prompts["prompt_id"].to_pylist(),
            prompts["text"].to_pylist(),
            [text_id for rows in held_out for text_id in rows["text_id"].to_pylist()],
            [text for rows in held_out for text in rows["text"].to_pylist()],
        )
        language = task.unit["language"]

        def score(texts: list[str]) -> list[float | None]:
            scored = self._scorer.score(texts, language, task.key)
            values = zip(scored.values["toxicity"], scored.statuses, strict=True)
            return [value if status == OK else None for value, status in values]

        edits = self._offsets(task) if self._parent is None else self._transplants(task, self._parent)
        rows = outcomes(edits, self._models, self._engines, given, self._seed, score)
        device = next(iter(self._models.values())).device.name
        return Product(rows, {"device": device, "edits": len(edits)}, rows.num_rows)

    def _offsets(self, task: Task) -> list[Intervention]:
        config = self._settings.config
        assert config.offsets is not None
        sets = NeuronSets.of(task.read(self._store, tables.NEURONS))
        english = from_rows(task.read(self._store, tables.ACTIVATIONS))
        sources = source_rows(sets, english, self._settings.choose, self._settings.resampling)
        deviations = sources["sd"].to_pylist() if config.offsets.units == "sd" else [1.0] * sources.num_rows
        ranks, name = source_ranks(sources), self._name
        doses = [dose for dose in config.offsets.doses if dose and ranks]
        return [untouched(name), *offsets(name, self._mlps[name], sets, ranks, doses, deviations)]

    def _transplants(self, task: Task, parent: str) -> list[Intervention]:
        config, model = self._settings.config, self._name
        assert config.transplants is not None
        before = from_rows(task.read(self._store, tables.ACTIVATIONS)).reading
        ranked = most_changed(self._mlps[parent], self._mlps[model], before)
        edits = [untouched(parent), untouched(model)]
        for direction in config.transplants.directions:
            names = (parent, model) if direction == "into-parent" else (model, parent)
            mlps = self._mlps[names[0]], self._mlps[names[1]]
            sizes = _up_to(config.transplants.sizes, len(ranked))
            edits += transplants(direction, names, mlps, ranked, sizes, config.random, config.probe.seed)
        return edits


def _up_to(sizes: Sequence[int], most: int) -> list[int]:
    """Return the sizes, none above ``most``, each once."""
    return sorted({min(size, most) for size in sizes})
