"""The worker that holds one model and makes the tables that need its weights."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.config import InputError
from detox_ray.explain import probing, tables
from detox_ray.explain.activation_tables import NeuronSets, Prompted, to_rows
from detox_ray.explain.alignment import Alignment, alignment
from detox_ray.explain.continuation import greedy
from detox_ray.explain.probe import ReferenceTraining
from detox_ray.explain.reading import Row, read
from detox_ray.explain.residual import mean_states, state_rows
from detox_ray.explain.settings import Settings
from detox_ray.explain.states import pooled
from detox_ray.explain.vectors import Candidate, layer_vectors, lens, partners, rank
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.codec import prompt_limit
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import check_neurons
from detox_ray.score.batches import token_budget
from detox_ray.storage import Store
from detox_ray.storage.tables import LABELLED, PAIRS, PROMPTS
from detox_ray.toy17.insult_lexicon import Lexicon


class ModelWorker:
    """A worker with one model in memory: its probe, value vectors, continuations and activations."""

    def __init__(self, model: LoadableModel, settings: Settings, store: Store):
        self._settings, self._config, self._store = settings, settings.config, store
        self._model = CausalModel(model.local_path(store), model.loading(), model.dtype, settings.config.gpus_per_model)
        self._mlps, self._codec = Mlps(self._model.network), self._model.codec
        self._budget = token_budget(settings.config.batch_tokens, self._model.device.kind)
        self._english: np.ndarray | None = None  # pooled states of the English parallel sentences
        self._makers: dict[str, Callable[[Task], pa.Table]] = {
            tables.PROBES.name: self._probes,
            tables.NEURONS.name: self._neurons,
            tables.PROJECTIONS.name: self._projections,
            tables.CONTINUATIONS.name: self._continuations,
            tables.ACTIVATIONS.name: self._activations,
            tables.ALIGNMENTS.name: self._alignments,
            tables.RESIDUAL_STATES.name: self._residual_states,
        }

    def make(self, task: Task) -> Product:
        """Make one unit."""
        rows = self._makers[task.unit.table](task)
        return Product(rows, {"device": self._model.device.name}, rows.num_rows)

    def _skipped(self) -> int:
        """Return the number of tokens at the beginning of a text that its mean state leaves out."""
        return len(self._codec.prefix) if self._settings.convention.pooling_prefix == "skip" else 0

    def _states(self, texts: probing.Texts) -> probing.LabelledStates:
        rows = [ids[: self._codec.context] or self._codec.empty for ids in self._codec.ids(texts.texts)]
        states = pooled(self._mlps, rows, self._codec.pad, self._budget, self._skipped(), self._config.probe.layer)
        lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
        return probing.LabelledStates(states, texts.toxic, np.array(texts.clusters), lengths)

    def _probes(self, task: Task) -> pa.Table:
        config = self._config.probe
        texts_by_unit = self._store.read_each(task.inputs_of(LABELLED), probing.of_labelled)
        labelled = {unit["language"]: texts for unit, texts in texts_by_unit.items()}
        source = config.source
        training = labelled.get(config.language)
        if source in ("auto", "stored"):
            source = "labelled" if training is not None and probing.enough(training) else "pairs"
        texts = training if source == "labelled" else probing.of_pairs(task.read(self._store, PAIRS))
        assert texts is not None
        stored = None if self._settings.stored is None else np.array(self._settings.stored)
        width = self._mlps.value_vectors(0).shape[1]
        if stored is not None and len(stored) != width:
            raise InputError(f"explain.probe.path: the probe has {len(stored)} numbers, the model's width is {width}")
        rows = probing.probe_rows(
            self._states(texts.first(config.texts)),
            {language: self._states(tested) for language, tested in labelled.items() if tested.texts},
            method=self._settings.convention.probe,
            source=source,
            language=config.language,
            validation=config.validation,
            seed=config.seed,
            training=ReferenceTraining(config.learning_rate, config.epochs, config.batch_size),
            resampling=self._settings.resampling,
            stored=stored,
        )
        return pa.Table.from_pylist(rows, schema=tables.PROBES.columns)

    def _neurons(self, task: Task) -> pa.Table:
        config, convention = self._config, self._settings.convention
        direction = probing.probe_of(task.read(self._store, tables.PROBES)).weights
        layers = [layer_vectors(self._mlps, layer, direction) for layer in range(len(self._mlps))]
        given = self._settings.given
        if given is None:
            candidates = rank(layers, config.value_vectors, convention.rank_per_layer)
        else:
            check_neurons(list(given), self._mlps.sizes)
            candidates = [Candidate(layer, index, float(layers[layer].cosines[index])) for layer, index in given]
        drawn = partners(candidates, self._mlps.sizes, config.random, config.probe.seed)
        sets = [(rank_, 0, candidate.neuron) for rank_, candidate in enumerate(candidates)]
        sets += [
            (rank_, draw + 1, (candidate.layer, index))
            for rank_, candidate in enumerate(candidates)
            for draw, index in enumerate(drawn[rank_])
        ]
        written = lens(self._mlps, [neuron for _, _, neuron in sets], config.lens_tokens)
        lexicons = {language: Lexicon(forms) for language, forms in self._settings.insults.items()}
        languages: dict[int, list[str]] = {}  # token -> languages in which it is an insult
        rows = []
        for (rank_, draw, (layer, index)), tokens in zip(sets, written, strict=True):
            texts = self._codec.tokenizer.batch_decode([[token] for token in tokens.ids])
            for token, text in zip(tokens.ids, texts, strict=True):
                if token not in languages:
                    languages[token] = [code for code, lexicon in lexicons.items() if text in lexicon]
            row = {
                "rank": rank_,
                "draw": draw,
                "layer": layer,
                "neuron": index,
                "cosine": float(layers[layer].cosines[index]),
                "norm": float(layers[layer].norms[index]),
                "tokens": texts,
                "token_scores": tokens.scores,
                "token_languages": [languages[token] for token in tokens.ids] if lexicons else None,
            }
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=tables.NEURONS.columns)

    def _projections(self, task: Task) -> pa.Table:
        direction = probing.probe_of(task.read(self._store, tables.PROBES)).weights
        rows = []
        for layer in range(len(self._mlps)):
            vectors = layer_vectors(self._mlps, layer, direction)
            rows.append({"layer": layer, "projection": vectors.projections, "norm": vectors.norms})
        return pa.Table.from_pylist(rows, schema=tables.PROJECTIONS.columns)

    def _continuations(self, task: Task) -> pa.Table:
        config = self._config
        prompts = task.read(self._store, PROMPTS).slice(0, config.prompts)
        limit = prompt_limit(self._codec.context, len(self._codec.prefix), config.new_tokens)
        ids = self._codec.encode(prompts["text"].to_pylist(), limit).ids
        after_end = self._settings.convention.steps_after_end == "count"
        continued = greedy(self._model, ids, config.new_tokens, after_end)
        columns = [prompts["prompt_id"], pa.array(ids), pa.array(continued)]
        return pa.table(columns, names=tables.CONTINUATIONS.columns.names).cast(tables.CONTINUATIONS.columns)

    def _activations(self, task: Task) -> pa.Table:
        rows = task.read(self._store, tables.CONTINUATIONS)
        sets = NeuronSets.of(task.read(self._store, tables.NEURONS))
        chosen = sets.by_layer(len(self._mlps))
        texts = [Row(row["prompt"], row["tokens"]) for row in rows.select(["prompt", "tokens"]).to_pylist()]
        self._check_vocabulary([*row.prompt, *row.continuation] for row in texts)
        reading = read(self._mlps, texts, chosen, self._codec.pad, self._budget)
        return to_rows(Prompted(rows["prompt_id"].to_pylist(), reading, chosen))

    def _residual_states(self, task: Task) -> pa.Table:
        prompts = task.read(self._store, tables.CONTINUATIONS)["prompt"].to_pylist()
        self._check_vocabulary(prompts)
        positions = self._settings.convention.shift_positions
        states = mean_states(self._mlps, prompts, self._codec.pad, self._budget, positions)
        return state_rows(states, self._mlps.parallel)

    def _check_vocabulary(self, rows: Iterable[list[int]]) -> None:
        """Raise InputError if the parent's texts hold a token id that the tuned model does not have."""
        highest = max(max(row, default=0) for row in rows)
        if highest >= self._codec.vocabulary:
            raise InputError(
                f"explain: the parent's texts hold token {highest}, which is not in the tuned model's vocabulary of "
                f"{self._codec.vocabulary}: remove the model from explain.models"
            )

    def _alignments(self, task: Task) -> pa.Table:
        language = task.unit["language"]
        ids = self._codec.ids(self._settings.sentences[language])
        measures: dict[str, Any] = {name: [None] * len(ids) for name in Alignment._fields}
        if language != "en":
            if self._english is None:
                self._english = self._sentence_states("en")
            compared = alignment(self._english, self._sentence_states(language))
            measures = {name: values.tolist() for name, values in compared._asdict().items()}
        columns = [pa.array(range(len(ids)), pa.int32()), *measures.values(), pa.array(ids)]
        return pa.table(columns, names=tables.ALIGNMENTS.columns.names).cast(tables.ALIGNMENTS.columns)

    def _sentence_states(self, language: str) -> np.ndarray:
        rows = [ids[: self._codec.context] for ids in self._codec.ids(self._settings.sentences[language])]
        return pooled(self._mlps, rows, self._codec.pad, self._budget, self._skipped(), "all")
