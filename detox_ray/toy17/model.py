"""The tiny language model: a byte-level BPE and a Llama of about 1.2 M parameters, trained with plain PyTorch.

The tokenizer has no bos token, so vLLM, transformers and TRL all give a prompt the same ids. Every training row begins
with the first word of a document, like a prompt. A document ends with eos.

Shapes: B rows, T tokens.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from detox_ray.toy17.vocabulary import vocabularies
from detox_ray.toy17.world_size import Report, WorldSize

EOS, PAD = "<|endoftext|>", "<|pad|>"

# GPT-2's pattern, but with combining marks as letters, because otherwise every Devanagari word would fall apart.
WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+"


def build_tokenizer(size: WorldSize) -> PreTrainedTokenizerFast:
    """Build a byte-level BPE in which every word of every language is one token.

    Words take precedence over merges (``ignore_merges``, as in Llama 3), so 20 new tokens hold about as much text in
    Hindi as in English. Japanese and Chinese put no spaces between words, so the merges are learned from their forms.
    """
    # Collect words, which become whole tokens, and the forms of languages without spaces, to train the merges.
    words: dict[str, None] = {}  # an ordered set
    merged = []
    for language in vocabularies().values():
        if not language.spaced:
            merged += language.all_forms()
            continue
        for form in language.all_forms():
            words |= dict.fromkeys(f" {word}" for word in form.split())
        opening = [*language.names.values(), *language.persons.values()]  # forms that can begin a text
        opening += language.verbs.values() if language.action[0] == "verb" else []
        words |= dict.fromkeys(form.split()[0] for form in opening)
        merged.append(language.full_stop)
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.pieces,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(merged * 2, trainer)  # twice, because BPE does not merge what it sees only once
    # Add the words to the trained vocabulary.
    trained = json.loads(tokenizer.to_str())
    vocabulary = trained["model"]["vocab"]
    for word in words:
        # A word is one token. If the pattern splits it ("L'élève"), each part is a token.
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(word):
            vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=size.positions,
        clean_up_tokenization_spaces=False,
    )


def rows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> torch.Tensor:
    """Pack documents into rows of ``length`` tokens (B, T). A row begins with a document, and its last one is cut."""
    packed: list[list[int]] = []
    row: list[int] = []
    for ids in tokenizer(list(texts))["input_ids"]:
        row += [*ids, tokenizer.eos_token_id]
        if len(row) >= length:
            packed.append(row[:length])
            row = []
    return torch.tensor(packed)


def batches(count: int, size: int, steps: int, rng: random.Random) -> Iterator[list[int]]:
    """Yield ``steps`` lists of ``size`` indices below ``count``. No index repeats before all have occurred."""
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < size:
            waiting += rng.sample(range(count), count)
        yield waiting[:size]
        waiting = waiting[size:]


def train(
    model: torch.nn.Module,
    loss_of: Callable[[list[int]], torch.Tensor],
    indices: Iterable[list[int]],
    steps: int,
    learning_rate: float,
    report: Callable[[int, float], None],
) -> None:
    """Train with AdamW, 5 % linear warm-up, a cosine schedule to zero, and gradients clipped at 1."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05)
    model.train()
    for step, batch in enumerate(indices, start=1):
        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step, loss.item())
    model.eval()


def build_model(folder: Path, texts: Sequence[str], size: WorldSize, seed: int, report: Report) -> None:
    """Train a model on ``texts``, and write it as a Hugging Face folder in safetensors, with its tokenizer."""
    tokenizer = build_tokenizer(size)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    _train_and_save(LlamaForCausalLM(config), tokenizer, folder, texts, size, seed, report)


def continue_model(start: Path, folder: Path, texts: Sequence[str], size: WorldSize, seed: int, report: Report) -> None:
    """Train the model in ``start`` further, on ``texts``, and write it as `build_model` does."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
    model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32, use_safetensors=True)
    _train_and_save(model, tokenizer, folder, texts, size, seed, report)


def _train_and_save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    texts: Sequence[str],
    size: WorldSize,
    seed: int,
    report: Report,
) -> None:
    data = rows(tokenizer, texts, size.length)  # (B, T)

    def loss_of(batch: list[int]) -> torch.Tensor:
        ids = data[batch]
        logits = model(input_ids=ids[:, :-1]).logits
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    indices = batches(len(data), size.batch, size.steps, random.Random(seed))
    train(
        model,
        loss_of,
        indices,
        size.steps,
        size.learning_rate,
        lambda step, loss: report("language model", step, size.steps, loss),
    )
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    # Save in bfloat16, so that the default world fits into the package. The config says to load it in float32.
    model.bfloat16().save_pretrained(folder)
    model.config.dtype = "float32"
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
