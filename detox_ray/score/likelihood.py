"""The likelihood job: how probable each model finds harmless held-out text, for perplexity before and after tuning.

Next-token negative log-likelihood in nats, log-softmax in float32. What the tokenizer itself puts before a text is
given and not predicted; if it puts nothing there, the text's first token is. A unit is one language under one model.

Shapes: B texts, T tokens, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.models import LoadableModel, attention
from detox_ray.models.codec import Codec
from detox_ray.score.batches import by_length
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import CHECKPOINTS, EMPTY, LIKELIHOODS, OK, TEXTS

TOKENS_OF_A_TEXT = 64.0  # assumed for `detox-ray plan`
LOGITS = 2**27  # numbers of a batch's logits at most: half a GiB in float32


class LikelihoodStage(Stage):
    """Measures how probable each model finds each language's held-out text."""

    name, command, title = "likelihoods", "score", "perplexity"
    version = 2  # raise it, too, when models/codec.py changes what a unit holds
    summary = "each model's perplexity of held-out text"
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
    """Holds one model; measures a language's texts per call."""

    def __init__(self, model: LoadableModel, batch_tokens: int, store: Store):
        import torch
        from transformers import AutoModelForCausalLM

        self._batch_tokens, self._store = batch_tokens, store
        path = model.local_path(store)
        self._codec = Codec(path, model.loading())
        self._given = max(1, len(self._codec.prefix))  # tokens that are not predicted
        self._on = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.cuda.get_device_name() if self._on == "cuda" else "cpu"
        loaded = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=model.dtype,
            use_safetensors=True,
            attn_implementation=attention(self._codec.config),
            **model.loading(),
        )
        self._model: torch.nn.Module = loaded.eval().to(self._on)

    def make(self, task: Task) -> Product:
        texts = task.read(self._store, TEXTS)
        measured = self.measure(texts["text"].to_pylist())
        tokens = [max(0, len(ids) - self._given) for ids in measured.ids]
        columns = [
            texts["text_id"],
            pa.array(tokens, pa.int32()),
            pa.array(measured.nll, pa.float64()),
            pa.array([EMPTY if nll is None else OK for nll in measured.nll], pa.string()),
        ]
        info = {"device": self._device, "texts": len(tokens), "tokens": sum(tokens), "truncated_texts": measured.cut}
        return Product(pa.table(columns, schema=LIKELIHOODS.columns), info, sum(tokens))

    def measure(self, texts: Sequence[str]) -> "Measured":
        """Measure each text, cut to what the model takes. One that leaves no token to predict has no likelihood."""
        whole, most = self._codec.ids(texts), self._codec.context
        ids, cut = [row[:most] for row in whole], sum(len(row) > most for row in whole)
        found: list[float | None] = [None] * len(texts)
        rows = [row for row in range(len(ids)) if len(ids[row]) > self._given]
        budget = min(self._batch_tokens, LOGITS // self._codec.config.get_text_config().vocab_size)
        for places in by_length([len(ids[row]) for row in rows], budget):
            batch = [rows[place] for place in places]
            for row, nll in zip(batch, self._nll([ids[row] for row in batch]), strict=True):
                found[row] = nll
        return Measured(ids, cut, found)

    def _nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Sums over each row's tokens but the given ones, nats."""
        import torch

        longest, pad = max(map(len, rows)), self._codec.pad
        ids_BT = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=self._on)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self._on)
        with torch.inference_mode():
            logits_BTV = self._model(input_ids=ids_BT, attention_mask=mask_BT).logits[:, :-1].float()
            nll_BT = torch.nn.functional.cross_entropy(logits_BTV.transpose(1, 2), ids_BT[:, 1:], reduction="none")
            return (nll_BT.double() * mask_BT[:, 1:])[:, self._given - 1 :].sum(-1).tolist()


class Measured(NamedTuple):
    """Of some texts, in their order."""

    ids: list[list[int]]
    cut: int  # texts that were too long
    nll: list[float | None]  # nats; None if no token is predicted
