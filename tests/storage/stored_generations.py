"""Rows and a unit that the store's tests commit."""

import pyarrow as pa

from detox_ray.storage.tables import GENERATIONS

FRENCH = GENERATIONS.unit(model="detox", language="fr")


def generations(*texts: str, first: int = 0) -> pa.Table:
    rows = [
        {"prompt_id": f"fr-{i:05d}", "sample": 0, "text": text, "tokens": 3, "finish_reason": "stop", "seed": i}
        for i, text in enumerate(texts, first)
    ]
    return pa.Table.from_pylist(rows, GENERATIONS.columns)
