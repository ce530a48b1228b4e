"""A tokenizer with the words that guards answer with, chat templates of the published shapes, and a tiny guard."""

from pathlib import Path
from typing import Any

WORDS = "safe unsafe Safety: Safe Unsafe Controversial Harmful request: response: Response refusal: yes no S1 S10"
SPECIAL = ["<|pad|>", "<|eot|>", "<|turn|>"]

# Both show the roles, so that a test sees who is said to have written the text.
TEXT_TEMPLATE = """\
{%- for message in messages %}<|turn|>{{ message.role }}: {{ message.content | trim }}
{% endfor -%}
{%- if add_generation_prompt %}<|turn|>judge: {% endif -%}"""
PARTS_TEMPLATE = """\
{%- for message in messages %}<|turn|>{{ message.role }}: {% for part in message.content
 if part.type is defined and part.type == 'text' %}{{ part.text }}{% endfor %}{{ "\\n" }}
{%- endfor -%}"""
BLIND_TEMPLATE = "<|turn|>judge this"


def tokenizer(template: str | None = TEXT_TEMPLATE) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytewise = Tokenizer(models.BPE())
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    bytewise.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, min_frequency=1, show_progress=False
    )
    corpus = [WORDS, *WORDS.split(), *[f" {word}" for word in WORDS.split()]] * 10
    bytewise.train_from_iterator(corpus, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        pad_token="<|pad|>",
        eos_token="<|eot|>",
        additional_special_tokens=["<|turn|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = template
    return made


def save(folder: Path) -> None:
    """A Llama of random weights: it answers "safe" or "unsafe" and ends, or something else where both are unlikely.

    Coordinate 0 is kept from everything but the embeddings of the two words, and read by the end token alone.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    words.save_pretrained(folder)
    torch.manual_seed(7)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,  # heads of 32, as vLLM needs on a CPU
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            tie_word_embeddings=False,
        )
    )
    verdicts = [words.convert_tokens_to_ids(word) for word in ("safe", "unsafe")]
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0
        model.model.embed_tokens.weight[verdicts, 0] = 50
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        of_verdicts = model.lm_head.weight[verdicts].clone()
        of_verdicts[:, 0] = 0
        model.lm_head.weight.zero_()
        model.lm_head.weight[verdicts] = of_verdicts
        model.lm_head.weight[words.eos_token_id, 0] = 8
    model.save_pretrained(folder)
