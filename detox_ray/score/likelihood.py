"""The likelihood stage: the likelihood of harmless held-out text under each model, for perplexity before and after
tuning.

The value is the next-token negative log-likelihood in nats (`CausalModel.nll`). The tokenizer's own prefix, or the
text's first token if there is none, is given and not predicted. A unit is one language under one model.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.score.batches import by_length, token_budget
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import CHECKPOINTS, EMPTY, FAILED, LIKELIHOODS, OK, TEXTS

TOKENS_OF_A_TEXT = 64.0  # assumed for `detox-ray plan`


class LikelihoodStage(Stage):
    """The stage that computes the likelihood of each language's held-out text under each model."""

    name, command, title = "likelihoods", "score", "perplexity"
    version = 3  # raise it, too, when models/codec.py changes what a unit holds
    summary = "the perplexity of held-out text under every model"
    measure = "tokens"
    needs = (TEXTS, CHECKPOINTS)
    writes = (LIKELIHOODS,)

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        return {
            LIKELIHOODS.unit(model=name, language=texts["language"]): context.of_model(name, texts, dtype=model.dtype)
            for name, model in context.models.items()
            for texts in context.units(TEXTS)
        }

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        config, jobs = context.experiment.score, []
        for name, model in context.models.items():
            settings = {"model": model, "batch_tokens": config.batch_tokens, "store": context.store}
            mine = [task for task in tasks if task.unit["model"] == name]
            jobs.append(Job(f"perplexity {name}", mine, LikelihoodWorker, settings, self.measure, config.actors))
        return jobs

    def costs(self, work: Workload) -> list[Cost]:
        models = list(work.experiment.models)
        if not work.held_out:
            return []
        tokens = work.held_out * TOKENS_OF_A_TEXT
        operations = sum(tokens * work.forward(model, TOKENS_OF_A_TEXT) for model in models)
        how = f"{work.held_out:,} texts by {len(models)} models, {TOKENS_OF_A_TEXT:g} tokens each ({work.counted})"
        return [work.computed(self.command, "likelihood of held-out text", tokens * len(models), operations, how)]


class LikelihoodWorker:
    """A worker with one model. Each call measures the texts of one language."""

    def __init__(self, model: LoadableModel, batch_tokens: int, store: Store):
        self._store = store
        self._model = CausalModel(model.local_path(store), model.loading(), model.dtype)
        self._codec = self._model.codec
        self._budget = token_budget(batch_tokens, self._model.device.kind, self._codec.vocabulary)
        self._given = max(1, len(self._codec.prefix))  # number of tokens at the start that are not predicted

    def make(self, task: Task) -> Product:
        texts = task.read(self._store, TEXTS)
        measured = self.measure(texts["text"].to_pylist())
        tokens = [max(0, len(ids) - self._given) for ids in measured.ids]
        statuses = [EMPTY if nll is None else OK if math.isfinite(nll) else FAILED for nll in measured.nll]
        columns = [
            texts["text_id"],
            pa.array(tokens, pa.int32()),
            pa.array([nll if status == OK else None for nll, status in zip(measured.nll, statuses, strict=True)]),
            pa.array(statuses, pa.string()),
        ]
        info = {
            "device": self._model.device.name,
            "texts": len(tokens),
            "tokens": sum(tokens),
            "truncated_texts": measured.cut,
            "status_counts": dict(Counter(statuses)),
        }
        return Product(pa.table(columns, schema=LIKELIHOODS.columns), info, sum(tokens))

    def measure(self, texts: Sequence[str]) -> "TextLikelihoods":
        """Measure each text, cut to the model's context. A text without a token to predict has no likelihood."""
        whole, most = self._codec.ids(texts), self._codec.context
        ids, cut = [row[:most] for row in whole], sum(len(row) > most for row in whole)
        likelihoods: list[float | None] = [None] * len(texts)
        rows = [row for row in range(len(ids)) if len(ids[row]) > self._given]
        for places in by_length([len(ids[row]) for row in rows], self._budget):
            batch = [rows[place] for place in places]
            for row, nll in zip(batch, self._model.nll([ids[row] for row in batch], self._given), strict=True):
                likelihoods[row] = nll
        return TextLikelihoods(ids, cut, likelihoods)


class TextLikelihoods(NamedTuple):
    """The likelihoods of some texts, in the order of the texts."""

    ids: list[list[int]]
    cut: int  # number of texts that were too long
    nll: list[float | None]  # in nats; None if no token is predicted
