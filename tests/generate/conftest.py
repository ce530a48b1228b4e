"""A small model, and a store with prompts."""

from pathlib import Path

import pyarrow as pa
import pytest
from small_generation import PROMPTS

from detox_ray.models import LoadableModel, resolve_path
from detox_ray.storage import Store
from detox_ray.storage.tables import PROMPTS as ASKED

KEY = "p" * 16


@pytest.fixture(scope="session")
def small_model(toy_world: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadableModel:
    """Random weights, large enough that no two tokens are nearly as likely; the toy world's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(toy_world / "model")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,  # heads of 32, as vLLM needs on a CPU
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.2,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)
    return resolve_path("base", str(folder), None, "auto")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Holds `PROMPTS`."""
    store = Store.at(str(tmp_path / "run"))
    for language, texts in PROMPTS.items():
        rows = [
            {"prompt_id": f"{language}-{row:05d}", "text": text, "source": "test", "source_index": str(row)}
            for row, text in enumerate(texts)
        ]
        store.commit(ASKED.unit(language=language), KEY, pa.Table.from_pylist(rows, schema=ASKED.columns))
    return store


@pytest.fixture
def prompts() -> dict[str, tuple[str, int]]:
    return {language: (KEY, len(texts)) for language, texts in PROMPTS.items()}
