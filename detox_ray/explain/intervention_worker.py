"""The worker that edits models: offsets of a parent's sources, or transplants between a tuned model and its parent."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.config import GenerateConfig
from detox_ray.explain import editable_models, tables
from detox_ray.explain.activation_tables import NeuronSets, from_rows, offset_amounts, source_ranks, source_rows
from detox_ray.explain.editable_models import EditableModel, TransformersModel
from detox_ray.explain.interventions import Items, Judges, matched, most_changed, outcome_rows
from detox_ray.explain.planned_edits import UNTOUCHED, PlannedEdit, offset_edits, transplant_edits
from detox_ray.explain.settings import Settings
from detox_ray.generate.engines import resolve_engine
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.edits import NeuronWeights, neuron_weights
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron
from detox_ray.score import ResolvedScorer, identifiers
from detox_ray.score.cached_scorer import CachedScorer
from detox_ray.score.identify import enough_letters, label
from detox_ray.storage import Store
from detox_ray.storage.tables import OK, PROMPTS, TEXTS


class Identification(NamedTuple):
    """The identifier of the run, as `identifiers.load` takes it."""

    name: str
    fasttext: str | None
    also: tuple[str, ...]


class InterventionWorker:
    """A model, or a tuned model and its parent; each call makes what one edit does in all languages.

    Args:
        model: the model of the units: a parent (offsets) or a tuned model (transplants).
        parent: the parent of a tuned model; None of a parent.
        settings: of the stage.
        generate: how edited models continue prompts, and the engine.
        seed: the experiment's.
        scorer: of completions.
        identification: of completions' languages; None: the run has none.
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
        identification: Identification | None,
        batch_tokens: int,
        store: Store,
    ):
        self._settings, self._seed, self._store = settings, seed, store
        self._name, self._parent = model.name, parent and parent.name
        self._loadable = {each.name: each for each in (model, parent) if each is not None}
        self._generate, self._models = generate, dict[str, EditableModel]()
        self._one_engine = resolve_engine(generate).name == "vllm"  # an engine takes all memory that it is given
        self._scorer = CachedScorer(scorer, batch_tokens, store)
        self._identifier = identification and identifiers.load(*identification)
        self._edits = {
            edit.name: edit for edit in (UNTOUCHED, *offset_edits(settings.config), *transplant_edits(settings.config))
        }
        self._on_host: dict[str, Mlps] = {}
        self._ranked: dict[str, list[Neuron]] = {}  # all neurons of both models, by the key of the parent's reading

    def make(self, task: Task) -> Product:
        """Make what one edit does."""
        edit = self._edits[task.unit["edit"]]
        edited = self._parent if edit.intervention == "into-parent" else self._name
        assert edited is not None, "parents have no transplants"
        items = self._items(task)
        judges = Judges(
            lambda texts, language: self._toxicity(texts, language, task.key),
            None if self._identifier is None else self._in_language,
        )
        model = self._model(edited)
        applied = self._applied(task, edit, model)
        if applied is None:
            return Product(tables.INTERVENTIONS.columns.empty_table(), {"edits": 0}, 0)
        with applied:
            rows = outcome_rows(edit, edited, model, items, self._seed, judges)
        info = {"engine": model.engine.name, "engine_version": model.engine.version, "device": model.engine.device}
        return Product(rows, info, rows.num_rows)

    def __del__(self) -> None:
        """Close the engines when the actor gives the worker up."""
        self._close()

    def _close(self) -> None:
        for model in getattr(self, "_models", {}).values():
            model.engine.close()
        self._models = {}

    def _model(self, name: str) -> EditableModel:
        if name not in self._models:
            if self._one_engine:
                self._close()
            gpus = self._settings.config.gpus_per_model
            self._models[name] = editable_models.load(self._loadable[name], self._store, self._generate, gpus)
        return self._models[name]

    def _items(self, task: Task) -> Items:
        config = self._settings.config
        items = Items([], [], [], [], [], [])
        for table, most, name, columns in (
            (PROMPTS, config.edited_prompts, "prompt_id", items[:3]),
            (TEXTS, config.edited_texts, "text_id", items[3:]),
        ):
            rows_by_unit = self._store.read_each(task.inputs_of(table), lambda rows: rows)
            for unit, all_rows in rows_by_unit.items():
                rows = all_rows.slice(0, most)
                for column, values in zip(
                    columns,
                    ([unit["language"]] * rows.num_rows, rows[name].to_pylist(), rows["text"].to_pylist()),
                    strict=True,
                ):
                    column += values
        return items

    def _toxicity(self, texts: list[str], language: str, key: str) -> list[float | None]:
        scored = self._scorer.score(texts, language, f"{key}-{language}")
        values = zip(scored.values["toxicity"], scored.statuses, strict=True)
        return [value if status == OK else None for value, status in values]

    def _in_language(self, texts: list[str], language: str) -> list[float | None]:
        assert self._identifier is not None
        distinct = list(dict.fromkeys(" ".join(text.split()) for text in texts if enough_letters(text)))
        answers = dict(zip(distinct, self._identifier.identify(distinct), strict=True))
        return [
            float(label(answers[" ".join(text.split())]) == language) if enough_letters(text) else None
            for text in texts
        ]

    def _applied(self, task: Task, edit: PlannedEdit, model: EditableModel) -> AbstractContextManager[None] | None:
        """Return what applies an edit; None if there are no sources to offset."""
        if edit == UNTOUCHED:
            return nullcontext()
        if self._parent is None:
            return self._offset(task, edit, model)
        return model.transplanted(self._weights(task, edit, self._parent))

    def _offset(self, task: Task, edit: PlannedEdit, model: EditableModel) -> AbstractContextManager[None] | None:
        config = self._settings.config
        assert config.offsets is not None
        sets = NeuronSets.of(task.read(self._store, tables.NEURONS))
        english = from_rows(task.read(self._store, tables.ACTIVATIONS))
        ranks = source_ranks(source_rows(sets, english, self._settings.choose, self._settings.resampling))
        if not ranks:
            return None
        neurons = [sets.candidates, *sets.draws][edit.draw]
        chosen = [neurons[rank] for rank in ranks]
        return model.offset(chosen, offset_amounts(edit.amount, config.offsets.units, english, chosen))

    def _weights(self, task: Task, edit: PlannedEdit, parent: str) -> dict[int, NeuronWeights]:
        """Return the weights that a transplant brings."""
        unit, key = task.input_of(tables.ACTIVATIONS)
        if key not in self._ranked:
            reading = from_rows(self._store.read(unit, key)).reading
            self._ranked[key] = most_changed(self._mlps(parent), self._mlps(self._name), reading)
        neurons = self._ranked[key][: int(edit.amount)]
        of = self._mlps(self._name if edit.intervention == "into-parent" else parent)
        if edit.draw:
            neurons = matched(neurons, of.sizes, self._settings.config.probe.seed + edit.draw)
        return neuron_weights(of, neurons)

    def _mlps(self, name: str) -> Mlps:
        """Return a model's MLPs. Beside vLLM, transformers reads the model into the host's memory."""
        if not self._one_engine:
            loaded = self._model(name)
            assert isinstance(loaded, TransformersModel)
            return loaded.mlps
        if name not in self._on_host:
            model = self._loadable[name]
            read = CausalModel(model.local_path(self._store), model.loading(), model.dtype, on_host=True)
            self._on_host[name] = Mlps(read.network)
        return self._on_host[name]
