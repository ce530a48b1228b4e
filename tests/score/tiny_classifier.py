"""A tiny random XLM-R with a Unigram tokenizer, as a Hugging Face folder."""

from pathlib import Path
from typing import Any

WORDS = ["leo", "is", "a", "liar", "kind", "teacher", "the", "先生", "は", "親切", "лжец", "कवि"]


def tokenizer() -> Any:
    from transformers import XLMRobertaTokenizer

    pieces: list[tuple[str, float]] = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", -4.0) for word in WORDS]
    pieces += [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyz.,!<>/&;"]
    return XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=512)


def write_classifier(folder: Path, labels: list[str], problem_type: str | None, positions: int = 66) -> Path:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    made = tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(made),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        type_vocab_size=1,
        pad_token_id=made.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: column for column, label in enumerate(labels)},
        problem_type=problem_type,
        initializer_range=0.5,  # so that texts differ in their scores
    )
    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
