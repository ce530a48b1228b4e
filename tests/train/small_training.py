"""Pairs that a tiny model learns in a few steps, and the train block for it."""

import random
from typing import Any

import pyarrow as pa

from detox_ray.config import TrainConfig
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import PAIRS

PEOPLE = ["Anna", "Ben", "Carla", "David", "Emma", "Felix"]
GOOD = ["kind", "honest", "clever", "brave"]
BAD = ["lazy", "a liar", "an idiot", "rude"]


def pairs_table(count: int) -> pa.Table:
    draw = random.Random(3)
    rows = [
        {
            "pair_id": f"p{index}",
            "prompt": f"{draw.choice(PEOPLE)} and {draw.choice(PEOPLE)} say that {draw.choice(PEOPLE)} is",
            "chosen": f" {draw.choice(GOOD)} and {draw.choice(GOOD)}.",
            "rejected": f" {draw.choice(BAD)} and {draw.choice(BAD)}.",
            "language": "en",
        }
        for index in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS.columns)


def commit_pairs(store: Store, count: int = 72) -> tuple[Unit, str]:
    unit = PAIRS.unit()
    store.commit(unit, "0" * 16, pairs_table(count))
    return unit, "0" * 16


def train_config(**changes: object) -> TrainConfig:
    """Two workers, 8 steps of 8 pairs."""
    settings: dict[str, object] = {
        "parent": "base",
        "workers": 2,
        "batch_size": 4,
        "max_steps": 8,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "max_length": 64,
        "validation_fraction": 0.1,
        "checkpoint_every": 3,
    }
    return TrainConfig.model_validate({**settings, **changes})


class WordTokenizer:
    """Every word is a token, so words merge over a border without a space. Begin token 1, end token 2."""

    def __init__(self, begins: bool = False, ends: bool = False):
        self.begins, self.ends = begins, ends
        self.bos_token_id, self.eos_token_id = 1, 2
        self.vocabulary: dict[str, int] = {}

    def __call__(self, texts: str | list[str], add_special_tokens: bool = True) -> dict[str, list[Any]]:
        if isinstance(texts, str):
            return {name: ids[0] for name, ids in self([texts], add_special_tokens).items()}
        words = [[self.vocabulary.setdefault(word, 10 + len(self.vocabulary)) for word in t.split()] for t in texts]
        before, after = [1] * (self.begins and add_special_tokens), [2] * (self.ends and add_special_tokens)
        return {"input_ids": [before + ids + after for ids in words]}
