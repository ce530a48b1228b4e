"""Batches: every row once, little padding, and the same tokens and scores as one text at a time."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from tiny_classifier import tokenizer

from detox_ray.models.padding import Padding
from detox_ray.score.batches import BatchedClassifier, Inputs, TokenRow, by_length, tokenize
from detox_ray.score.label_mapping import Output
from detox_ray.score.scorers import Failure


@pytest.fixture(scope="module")
def tokens() -> Any:
    return tokenizer()


def test_every_row_is_in_one_batch_within_the_budget() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(1, 300) for _ in range(500)]
    batches = list(by_length(lengths, 1024))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    for batch in batches:
        assert max(lengths[row] for row in batch) * len(batch) <= 1024
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)


def test_without_padding_a_batch_has_rows_of_one_length() -> None:
    assert list(by_length([3, 5, 3, 5, 5, 2], 10, padded=False)) == [[1, 3], [4], [0, 2], [5]]


def test_row_larger_than_the_budget_is_a_batch_alone() -> None:
    assert list(by_length([5, 900, 900], 512)) == [[1], [2], [0]]
    assert list(by_length([], 512)) == []


LONG = {
    "words": "leo is a liar. " * 7000,
    "one word": "liar" * 25_000,
    "letters": "abcdefghij" * 10_000,
    "unknown": "\u0416" * 100_000,
    "spaces, then words": " " * 99_000 + "leo is a liar. " * 100,
    "zero-width, then words": "\u200b" * 99_000 + "leo is kind. " * 100,
    "marks": "a" + "\u0301" * 100_000,
    "html": "<b>leo</b>&amp;" * 7000,
}


@pytest.mark.parametrize("name", LONG)
def test_long_line_has_the_tokens_of_the_whole(tokens: Any, name: str) -> None:
    first, second = ids(tokenize(tokens, ["leo", LONG[name]], 64).rows)
    assert second == tokens(LONG[name], truncation=True, max_length=64)["input_ids"]
    assert first == tokens("leo")["input_ids"]


def test_long_line_is_not_tokenised_whole(tokens: Any) -> None:
    seen: list[int] = []

    def counting(texts: list[str], **options: Any) -> Any:
        seen.extend(map(len, texts))
        return tokens(texts, **options)

    counting.pad_token_id = 1  # type: ignore[attr-defined]
    encoded = tokenize(counting, ["leo is a liar. " * 70_000], 64)
    assert encoded.truncated == 1 and max(seen) < 5000


def test_text_that_cannot_be_tokenised_fails_alone(tokens: Any) -> None:
    first, second, third = tokenize(tokens, ["leo", "\ud800 lone", "is"], 64).rows
    assert isinstance(second, Failure)
    assert ids([first, third]) == [tokens("leo")["input_ids"], tokens("is")["input_ids"]]


def ids(rows: list[TokenRow | Failure]) -> list[list[int]]:
    return [row.ids for row in rows if isinstance(row, TokenRow)]


def batched(tokens: Any, forward: Any, column: int, budget: int) -> BatchedClassifier:
    """Of a network that is only its forward pass."""
    padding = Padding(tokens.pad_token_id, len(tokens))
    return BatchedClassifier(tokens, 64, forward, {"toxicity": Output((column,))}, padding, budget)


def summing(refuse: int | None = None) -> Callable[[Any, Any], Any]:
    """Probabilities from the sum of a text's own ids; raises where ``refuse`` is among them."""
    import torch

    def forward(inputs: Inputs) -> Any:
        ids_BT, mask_BT = inputs["input_ids"], inputs["attention_mask"]
        if refuse is not None and (ids_BT == refuse).any():
            raise RuntimeError("no such word here")
        toxic = (ids_BT * mask_BT).sum(-1) / 1000
        return torch.stack([1 - toxic, toxic], -1)

    return forward


def test_scores_come_back_in_order_and_padding_does_not_count(tokens: Any) -> None:
    texts = ["leo " * n for n in (3, 1, 8, 2)] + ["kind", "liar"]
    scores = batched(tokens, summing(), 1, 40).score(texts)
    expected = [sum(tokens(text)["input_ids"]) / 1000 for text in texts]
    assert [each["toxicity"] for each in scores if isinstance(each, dict)] == pytest.approx(expected)


def test_only_the_text_that_fails_fails(tokens: Any) -> None:
    liar = tokens.convert_tokens_to_ids("▁liar")
    texts = ["leo"] * 5 + ["a liar"] + ["kind"] * 6
    results = batched(tokens, summing(liar), 1, 512).score(texts)
    assert [isinstance(result, Failure) for result in results] == [n == 5 for n in range(12)]
    assert results[5] == Failure("RuntimeError: no such word here")


def test_value_that_is_no_probability_is_a_failure(tokens: Any) -> None:
    import torch

    classifier = batched(tokens, lambda inputs: torch.tensor([[float("nan")]]), 0, 8)
    (result,) = classifier.score(["leo"])
    assert isinstance(result, Failure) and "not a number" in result.reason
