"""Randomly initialised models of a few thousand parameters, saved as folders: an mT5 and a Llama."""

from pathlib import Path

TEXTS = [
    "Anna buys bread in the garden today.",
    "Der Lehrer ist heute sehr freundlich.",
    "先生は親切です。今日は良い天気です。",
    "المعلم لطيف اليوم",
    "今天的天气很好",
]


def save_tokenizer(folder: Path, *, begin: bool, end: bool) -> None:
    """A Unigram tokenizer whose word starts are "▁", with <s> before and </s> after a text where asked."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>", "<s>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    template = " ".join([*(["<s>"] if begin else []), "$A", *(["</s>"] if end else [])])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>" if begin else None,
    ).save_pretrained(folder)


def save_mt5(folder: Path) -> None:
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(0)
    config = MT5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    MT5ForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizer(folder, begin=False, end=True)


def save_llama(folder: Path, *, begin: bool, context: int = 256) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=context,
        initializer_range=0.3,  # far from uniform, so that a wrong position or mask shows
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder, begin=begin, end=False)
