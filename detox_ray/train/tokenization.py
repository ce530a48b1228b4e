"""Conversion of training texts into token ids: special tokens, the beginning of completions, and cutting.

A pair's text is prompt, separator and completion, joined unchanged as in generation. It begins with the tokens that the
tokenizer puts before a text (`detox_ray.models.codec`). The tokenizer's end token is appended to every completion, as
in TRL, also in the version with which Li et al. 2024 trained. So the model also learns that the text may end there,
equally for both completions: the preference itself says nothing about length.
"""

from collections.abc import Sequence
from typing import Any

from detox_ray.config import InputError, TrainConfig
from detox_ray.models.codec import Encoder
from detox_ray.models.families import stated_positions

Row = dict[str, Any]  # a row of a trainer's dataset: an id and lists of token ids


def check(tokenizer: Any, model_config: Any, parent: str, field: str, max_length: int) -> None:
    """Raise InputError if tokenizer and model do not fit each other or ``max_length``.

    A tokenizer without a padding token gets its end token as one, as in both papers. Padding is always masked.
    """
    text = model_config.get_text_config()
    if tokenizer.eos_token_id is None:
        raise InputError(f"models.{parent}: its tokenizer has no end token, which training appends to completions")
    largest, rows = max(tokenizer.get_vocab().values()), text.vocab_size
    if largest >= rows:
        token = tokenizer.convert_ids_to_tokens(largest)
        raise InputError(
            f"models.{parent}: its tokenizer's largest token id is {largest} ({token!r}), but the model has "
            f"embeddings for {rows} tokens only: they do not belong together"
        )
    limit = stated_positions(model_config)  # None for BLOOM, whose positions are unlimited
    if limit is not None and max_length > limit:
        raise InputError(f"{field}.max_length: {max_length} is more than {parent}'s limit of {limit} positions")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def pair_rows(pairs: Sequence[dict[str, str]], tokenizer: Any, config: TrainConfig) -> list[list[Row]]:
    """Return a list with the row of each pair.

    The list is empty if the length filter leaves the pair out, or if nothing to learn remains after cutting. A row has
    pair_id, prompt_ids, chosen_ids and rejected_ids; for sft it has pair_id, input_ids and labels (-100: not learned).
    """
    encoder = Encoder(tokenizer)
    prompts = [pair["prompt"] + config.separator for pair in pairs]
    encoded = [
        encoder.ids([prompt + end for prompt, end in zip(prompts, ends, strict=True)])
        for ends in ([""] * len(pairs), *([pair[side] for pair in pairs] for side in ("chosen", "rejected")))
    ]
    return [
        _pair_row(pair, prompt, chosen, rejected, encoder, config)
        for pair, prompt, chosen, rejected in zip(pairs, *encoded, strict=True)
    ]


def _pair_row(
    pair: dict[str, str],
    prompt: list[int],
    chosen: list[int],
    rejected: list[int],
    encoder: Encoder,
    config: TrainConfig,
) -> list[Row]:
    longer = max(len(pair["chosen"]), len(pair["rejected"]))
    if config.length_filter == "characters" and len(pair["prompt"]) + longer > config.max_length:
        return []
    # Tokens may merge across the border. The completion then begins with the merged token, as in TRL.
    start = min(_shared(prompt, chosen), _shared(prompt, rejected))
    if config.length_filter == "tokens" and start >= config.max_length:
        return []
    context, kept = prompt[:start], len(encoder.prefix)
    if config.bos == "always":  # TRL 0.8.6, which also cuts the begin token from the start of a long prompt
        bos, kept = encoder.tokenizer.bos_token_id, 0
        begins = bool(encoder.prefix) or context[:1] == [bos]
        context = context if bos is None or begins else [bos, *context]
    context = context or list(encoder.empty)
    completions = [_ended(ids[start:], encoder.tokenizer) for ids in (chosen, rejected)]
    if config.method == "sft":
        context, (completion,) = cut(context, completions[:1], config, kept)
        ids = context + completion
        labels = ids if config.loss_on == "text" else [-100] * len(context) + completion
        learned = any(label != -100 for label in labels[1:])  # the first token is not predicted
        return [{"pair_id": pair["pair_id"], "input_ids": ids, "labels": labels}] if learned else []
    context, (chosen, rejected) = cut(context, completions, config, kept)
    if not chosen or not rejected:
        return []
    return [{"pair_id": pair["pair_id"], "prompt_ids": context, "chosen_ids": chosen, "rejected_ids": rejected}]


def cut(
    prompt: list[int], completions: Sequence[list[int]], config: TrainConfig, kept: int = 0
) -> tuple[list[int], tuple[list[int], ...]]:
    """Cut a prompt and its completions to max_length tokens, by the rule in config.truncation.

    ``prompt-first`` is the rule of TRL 0.8.6, which measures the longer completion. If prompt and completion do not
    fit, the prompt keeps its last max_prompt_length tokens. If they still do not fit, every completion keeps its first
    max_length - max_prompt_length tokens, even if the prompt is short. The prompt's first ``kept`` tokens always stay,
    and count.
    """
    most, longest = config.max_length, max(map(len, completions))
    if config.truncation == "prompt-first":
        assert config.max_prompt_length is not None  # the recipe's or the user's
        if len(prompt) + longest > most:
            start = max(kept, len(prompt) - config.max_prompt_length + kept)
            prompt = prompt[:kept] + prompt[start:]
        if len(prompt) + longest > most:
            completions = [ids[: most - config.max_prompt_length] for ids in completions]
    prompt = prompt[:most]
    return prompt, tuple(ids[: most - len(prompt)] for ids in completions)


def text_rows(texts: Sequence[dict[str, str]], tokenizer: Any, config: TrainConfig) -> list[list[Row]]:
    """Return the rows (text_id, input_ids, labels) of each text of a corpus; no row if the text is empty.

    With ``overflow: chunks``, a long text becomes several rows, and each begins with the tokens that the tokenizer puts
    before a text (docs/papers.md, "Training by Neplenbroek et al.": transformers' return_overflowing_tokens).
    """
    encoder = Encoder(tokenizer)
    prefix = encoder.prefix
    rows: list[list[Row]] = []
    for text, ids in zip(texts, encoder.ids([text["text"] for text in texts]), strict=True):
        ids, size = _ended(ids, tokenizer), config.max_length
        pieces = [ids[:size]]
        if config.overflow == "chunks":
            size -= len(prefix)
            body = ids[len(prefix) :]
            pieces = [prefix + body[start : start + size] for start in range(0, len(body), size)]
            if len(pieces) > 1 and len(pieces[-1]) == len(prefix) + 1:
                pieces.pop()  # it is only the end token
        empty = len(ids) - len(prefix) <= 1
        rows.append(
            [] if empty else [{"text_id": text["text_id"], "input_ids": piece, "labels": piece} for piece in pieces]
        )
    return rows


def _ended(ids: list[int], tokenizer: Any) -> list[int]:
    return ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]


def _shared(first: list[int], second: list[int]) -> int:
    """Return the length of the longest common prefix."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))
