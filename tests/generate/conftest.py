"""A small model, and a store with prompts."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from small_generation import PROMPTS

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Engine
from detox_ray.generate.engines import start
from detox_ray.models import LoadableModel, resolve_path, vllm_options
from detox_ray.models.vllm_internals import RESEEDING
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


@pytest.fixture(scope="module")
def load(small_model: LoadableModel) -> Iterator[Callable[[str, GenerateConfig], Engine]]:
    """Load an engine of the small model, by name and settings. All of vLLM's share one `vllm.LLM`."""
    started: list[Any] = []

    def llm(*arguments: Any, **resources: Any) -> Any:
        if not started:
            resources["options"]["worker_extension_cls"] = RESEEDING  # some settings need it
            started.append(vllm_start(*arguments, **resources))
        return started[0]

    @cache
    def engine(name: str, settings: str) -> Engine:
        config = GenerateConfig.model_validate_json(settings)
        return start(name, small_model.location, small_model.loading(), small_model.dtype, config)

    vllm_start = vllm_options.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_options, "start", llm)
        yield lambda name, config: engine(name, config.model_dump_json())
    for each in started:
        vllm_options.end(each)


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
