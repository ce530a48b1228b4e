"""The status of held-out texts: what has no likelihood is not a number, and says why."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa

from detox_ray.score.likelihood import LikelihoodWorker, TextLikelihoods
from detox_ray.storage.tables import TEXTS


def test_a_likelihood_that_is_not_finite_is_a_failure_and_not_a_value() -> None:
    worker = LikelihoodWorker.__new__(LikelihoodWorker)
    worker._store, worker._given = cast(Any, None), 1
    worker._model = cast(Any, SimpleNamespace(device=SimpleNamespace(name="cpu")))
    nll: list[float | None] = [2.5, math.nan, math.inf, None]
    worker.measure = lambda texts: TextLikelihoods([[1, 2], [1, 2], [1, 2], [1]], 0, nll)  # type: ignore[method-assign]
    rows = [{"text_id": f"en-{row}", "text": "a", "source": "file"} for row in range(4)]
    task = SimpleNamespace(read=lambda store, table: pa.Table.from_pylist(rows, schema=TEXTS.columns))
    product = worker.make(cast(Any, task))
    assert product.rows is not None
    assert product.rows["status"].to_pylist() == ["ok", "failed", "failed", "empty"]
    assert product.rows["nll"].to_pylist() == [2.5, None, None, None]
    assert product.info["status_counts"] == {"ok": 1, "failed": 2, "empty": 1}
