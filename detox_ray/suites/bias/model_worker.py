"""The worker that measures the options of items under one model."""

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.score.batches import token_budget
from detox_ray.storage import Store
from detox_ray.suites.bias.likelihoods import OptionScorer, choice_texts
from detox_ray.suites.bias.plan import ITEMS_PER_UNIT
from detox_ray.suites.bias.tables import BIAS_ITEMS, OPTION_LIKELIHOODS


class BiasModelWorker:
    """A worker with one model in memory that measures one unit of items per call."""

    def __init__(self, model: LoadableModel, batch_tokens: int, store: Store):
        self._store = store
        loaded = CausalModel(model.local_path(store), model.loading(), model.dtype)
        self._device = loaded.device
        self._scorer = OptionScorer(loaded, token_budget(batch_tokens, self._device.kind, loaded.codec.vocabulary))

    def make(self, task: Task) -> Product:
        """Make one unit."""
        items = task.read(self._store, BIAS_ITEMS).slice(task.unit.shard * ITEMS_PER_UNIT, ITEMS_PER_UNIT).to_pylist()
        texts = [
            item["options"]
            if item["question"] is None
            else choice_texts(item["context"], item["question"], item["options"])
            for item in items
        ]
        rows = [
            {"item_id": item["item_id"], "option": place, **likelihood._asdict()}
            for item, options in zip(items, self._scorer.measure(texts), strict=True)
            for place, likelihood in enumerate(options)
        ]
        table = pa.Table.from_pylist(rows, schema=OPTION_LIKELIHOODS.columns)
        return Product(table, {"device": self._device.name, "items": len(items)}, len(rows))
