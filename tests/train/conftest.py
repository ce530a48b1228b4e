"""A tiny parent model with random weights."""

from pathlib import Path

import pytest
from small_training import pairs_table

from detox_ray.models import LoadableModel, resolve_path
from detox_ray.storage import Store


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


@pytest.fixture
def s3_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_endpoint: str) -> Store:
    """A store on the S3 API server, to which the environment has the keys."""
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    endpoint = f"endpoint_override={s3_endpoint.replace(':', '%3A')}&scheme=http&region=us-east-1"
    return Store(f"s3://bucket/{tmp_path.name}?{endpoint}")
