"""A tiny parent model with random weights, and pairs that it can learn in a few steps."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.store import Store, Unit
from detox_ray.tables import PAIRS

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
    return pa.Table.from_pylist(rows, schema=PAIRS)


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> LoadableModel:
    """A Llama of about 50,000 parameters with tied embeddings; its tokenizer has no pad token."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("parent")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [text for row in pairs_table(200).to_pylist() for text in (row["prompt"], row["chosen"], row["rejected"])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", bos_token="<end>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return resolve_path("base", str(folder), None, "auto")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path))


def commit_pairs(store: Store, count: int = 72) -> tuple[Unit, str]:
    unit = Unit("pairs")
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
