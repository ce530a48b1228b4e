"""Small tokenizers that put before and after a text what published ones do."""

from pathlib import Path
from typing import Any, NamedTuple

SPECIAL = ["<s>", "</s>", "<pad>", "[gMASK]", "<sop>"]
TEXTS = ["my neighbour is kind", "a fool", "Anna is the one whom Ben likes"] * 5


class Form(NamedTuple):
    """What a tokenizer adds to a text, and its special tokens."""

    template: str  # $A: the text
    names: dict[str, str]
    prefix: list[str]


FORMS = {
    "nothing": Form("$A", {"bos_token": "<s>", "eos_token": "</s>"}, []),
    "bos": Form("<s> $A", {"bos_token": "<s>", "eos_token": "</s>"}, ["<s>"]),
    "bos and eos": Form("<s> $A </s>", {"bos_token": "<s>", "eos_token": "</s>"}, ["<s>"]),
    "XGLM": Form("</s> $A", {"bos_token": "<s>", "eos_token": "</s>"}, ["</s>"]),
    "GLM": Form("[gMASK] <sop> $A", {"eos_token": "</s>"}, ["[gMASK]", "<sop>"]),
    "GLM and eos": Form("[gMASK] <sop> $A </s>", {"eos_token": "</s>"}, ["[gMASK]", "<sop>"]),
    "eos, which is bos": Form("$A </s>", {"bos_token": "</s>", "eos_token": "</s>"}, []),
    "eos on both sides": Form("</s> $A </s>", {"bos_token": "</s>", "eos_token": "</s>"}, ["</s>"]),
    "one of two bos": Form("<sop> $A", {"bos_token": "<s>", "eos_token": "</s>"}, ["<sop>"]),
}


def tokenizer(form: Form, space_first: bool = False) -> Any:
    """``space_first``: a space is put before every text, as SentencePiece does; it belongs to the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space_first)  # type: ignore[assignment]
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    bpe.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=form.template, special_tokens=[(name, bpe.token_to_id(name)) for name in SPECIAL]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", **form.names)


def save(folder: Path, words: Any, positions: int = 128, **config: Any) -> None:
    """The tokenizer and the config of a tiny Llama, without weights."""
    from transformers import LlamaConfig

    words.save_pretrained(folder)
    LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=positions,
        initializer_range=0.3,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        **config,
    ).save_pretrained(folder)
