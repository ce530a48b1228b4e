"""Costs of the bias stages, for `detox-ray plan`."""

from collections.abc import Mapping, Sequence
from typing import Any

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.data import DataError
from detox_ray.suites.bias.bias_set import BiasSet, sets_of
from detox_ray.suites.bias.chat import uses_chat

BYTES_PER_TOKEN = 3.0  # assumed
PROMPT_TOKENS = 60.0  # assumed: tokens that a prompt adds to a question and its options


def costs(work: Workload, command: str) -> list[Cost]:
    """Return the cost for each model and each set whose options' likelihoods are measured."""
    experiment = work.experiment
    assert experiment.bias is not None
    lines = []
    chat = uses_chat(experiment)
    for bias_set in sets_of(experiment.bias):
        items = _items(bias_set, experiment.languages)
        if not items or bias_set.in_words(chat):
            continue
        texts = 0
        size = 0.0
        for item in items:
            question = item["question"]
            # A question is read once for all of its answers.
            options = item["options"] if question is None else [_asked(item)]
            texts += len(options)
            size += sum(len(option.encode()) for option in options)
        tokens = size / BYTES_PER_TOKEN
        how = f"{len(items):,} items, {texts:,} texts at {BYTES_PER_TOKEN:g} bytes per token"
        for model in experiment.models:
            operations = tokens * work.forward(model, tokens / max(1, texts))
            lines.append(work.computed(command, f"{model}: {bias_set.name}", tokens, operations, how))
    return lines


def costs_in_words(work: Workload, command: str) -> list[Cost]:
    """Return the cost for each model and each set whose questions are answered in words."""
    experiment = work.experiment
    assert experiment.bias is not None
    chat = uses_chat(experiment)
    lines = []
    for bias_set in sets_of(experiment.bias):
        items = _items(bias_set, experiment.languages)
        if not items or not bias_set.in_words(chat):
            continue
        answers = len(items) * bias_set.prompt_count
        size = sum(len(_asked(item).encode()) for item in items) / len(items)
        tokens = size / BYTES_PER_TOKEN + PROMPT_TOKENS
        ground = (
            f"{len(items):,} questions in {bias_set.prompt_count} prompts: {answers:,} answers; {BYTES_PER_TOKEN:g} "
            f"bytes per token and {PROMPT_TOKENS:g} tokens per prompt: assumed"
        )
        for model in experiment.models:
            what = f"{model}: {bias_set.name}, {answers:,} answers in words"
            lines.append(work.completing(command, what, model, answers, tokens, experiment.bias.max_tokens, ground))
    return lines


def _items(bias_set: BiasSet, languages: Sequence[str]) -> list[dict[str, Any]]:
    """Return the items of a set in all languages, or none if it cannot be read; `validate` reports why."""
    try:
        return [item for rows in bias_set.read(languages).rows.values() for item in rows]
    except DataError:
        return []


def _asked(item: Mapping[str, Any]) -> str:
    """Return the text of a question with its context and options."""
    return "\n".join((item["context"], item["question"], *item["options"]))
