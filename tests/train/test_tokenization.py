"""Texts become token ids: special tokens, borders, cuts, and tokenizers that do not fit."""

from types import SimpleNamespace
from typing import Any

import pytest
from small_training import WordTokenizer, train_config

from detox_ray.train import tokenization

BOS, EOS = 1, 2


def config(**changes: object) -> Any:
    return train_config(workers=1, **changes)


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, str]:
    return {"pair_id": "p", "prompt": prompt, "chosen": chosen, "rejected": rejected}


def made(row: dict[str, str], tokenizer: WordTokenizer, **changes: object) -> list[tuple[str, ...]]:
    """prompt, chosen, rejected as words; nothing where the pair is left out."""
    rows = tokenization.pair_rows([row], tokenizer, config(**changes))[0]
    words = {number: word for word, number in tokenizer.vocabulary.items()} | {BOS: "<s>", EOS: "</s>"}
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [" ".join(words[number] for number in one[name]) for one in rows for name in names]


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("bos", ["always", "tokenizer"])
def test_every_completion_ends_once_and_begin_tokens_stand_where_asked(begins: bool, ends: bool, bos: str) -> None:
    found = made(pair("you are", " kind", " so rude"), WordTokenizer(begins, ends), bos=bos)
    begin = "<s> " if begins or bos == "always" else ""
    assert found == [f"{begin}you are", "kind </s>", "so rude </s>"]


def test_tokenizer_without_begin_token_gets_none() -> None:
    tokenizer = WordTokenizer()
    tokenizer.bos_token_id = None  # type: ignore[assignment]
    assert made(pair("you are", " kind", " rude"), tokenizer, bos="always")[0] == "you are"


def test_word_that_merges_over_the_border_belongs_to_the_completions() -> None:
    assert made(pair("you are un", "kind", " rude"), WordTokenizer()) == ["you are", "unkind </s>", "un rude </s>"]


def test_separator_stands_between_prompt_and_completion() -> None:
    found = made(pair("you are un", "kind", " rude"), WordTokenizer(), separator=" ")
    assert found == ["you are un", "kind </s>", "rude </s>"]


# max_length 8, max_prompt_length 3; numbers of tokens of (prompt, chosen, rejected) with the end token -> after the cut
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((4, 4, 3), (4, 4, 3)),  # fits
        ((5, 4, 3), (3, 4, 3)),  # the prompt gives way, all the way down to 3
        ((5, 3, 4), (3, 3, 4)),  # also where only the rejected one is too long
        ((5, 9, 3), (3, 5, 3)),  # then the completion, to 8 - 3
        ((2, 9, 3), (2, 5, 3)),  # to 8 - 3 also where the prompt is shorter (TRL 0.8.6)
        ((2, 6, 7), (2, 5, 5)),  # both, though one of them fits
    ],
)
def test_prompt_first_cuts_as_trl_086_did(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    prompt, chosen, rejected = (list(range(start, start + n)) for start, n in zip((0, 100, 200), before, strict=True))
    kept, ends = tokenization.cut(
        prompt, (chosen, rejected), config(max_length=8, truncation="prompt-first", max_prompt_length=3)
    )
    assert (len(kept), *map(len, ends)) == after
    assert kept == prompt[-after[0] :]  # its end
    assert ends == (chosen[: after[1]], rejected[: after[2]])  # their beginnings


def test_truncation_end_cuts_each_text_at_its_end() -> None:
    found = tokenization.cut([1, 2, 3, 4], ([5] * 9, [6]), config(max_length=8, truncation="end"))
    assert found == ([1, 2, 3, 4], ([5] * 4, [6]))


@pytest.mark.parametrize(("letters", "kept"), [(9, True), (10, False)])
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_filter_by_characters_looks_at_prompt_with_either_completion(side: str, letters: int, kept: bool) -> None:
    row = {**pair("you are", " kind", " rude"), side: " " + "x" * (letters - 1)}
    assert bool(made(row, WordTokenizer(), length_filter="characters", max_length=16)) is kept


@pytest.mark.parametrize(("words", "kept"), [(7, True), (8, False)])
@pytest.mark.parametrize("truncation", [{"truncation": "end"}, {"truncation": "prompt-first", "max_prompt_length": 3}])
def test_filter_by_tokens_leaves_out_prompts_that_fill_the_length(
    truncation: dict[str, object], words: int, kept: bool
) -> None:
    row = pair("so " * words, " kind", " rude")
    assert bool(made(row, WordTokenizer(), length_filter="tokens", max_length=8, **truncation)) is kept


def test_without_filter_only_pairs_with_nothing_left_to_learn_are_left_out() -> None:
    assert made(pair("so " * 5, " kind " * 99, " rude"), WordTokenizer(), length_filter=None)
    assert not made(pair("so " * 8, " kind", " rude"), WordTokenizer(), length_filter=None, max_length=8)


@pytest.mark.parametrize(("loss_on", "learned"), [("completion", "kind </s>"), ("text", "you are kind </s>")])
def test_sft_learns_the_chosen_completion_or_the_whole_text(loss_on: str, learned: str) -> None:
    tokenizer = WordTokenizer()
    long_rejected = pair("you are", " kind", " rude" * 100)
    ((row,),) = tokenization.pair_rows([long_rejected], tokenizer, config(method="sft", loss_on=loss_on))
    words = {number: word for word, number in tokenizer.vocabulary.items()} | {EOS: "</s>"}
    assert [words[number] for number in row["input_ids"]] == ["you", "are", "kind", "</s>"]
    assert [words[label] for label in row["labels"] if label != -100] == learned.split()


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize(("overflow", "words", "lengths"), [("cut", 20, [8]), ("chunks", 20, None), ("chunks", 3, [4])])
def test_corpus_text_is_cut_or_goes_on_in_further_rows(
    begins: bool, overflow: str, words: int, lengths: list[int] | None
) -> None:
    tokenizer = WordTokenizer(begins)
    text = " ".join(f"w{index}" for index in range(words))
    (rows,) = tokenization.text_rows([{"text_id": "t", "text": text}], tokenizer,
                               config(method="sft", train_on="corpus", overflow=overflow, max_length=8))  # fmt: skip
    ids = [row["input_ids"] for row in rows]
    if lengths is None:
        lengths = [8, 8, 8] if begins else [8, 8, 5]
    elif begins and overflow == "chunks":
        lengths = [5]
    assert [len(each) for each in ids] == lengths
    assert all(row["labels"] == row["input_ids"] for row in rows)
    if begins:
        assert all(each[0] == BOS for each in ids)
    whole = [number for each in ids for number in each[begins:]]
    expected = [*tokenizer([text])["input_ids"][0][begins:], EOS]
    assert whole == expected[: len(whole)]
    assert (len(whole) == len(expected)) is (overflow == "chunks")


def test_end_token_alone_makes_no_chunk_and_an_empty_text_no_row() -> None:
    texts = [{"text_id": "t", "text": " ".join(["word"] * 16)}, {"text_id": "u", "text": ""}]
    settings = config(method="sft", train_on="corpus", overflow="chunks", max_length=8)
    full, empty = tokenization.text_rows(texts, WordTokenizer(), settings)
    assert [len(row["input_ids"]) for row in full] == [8, 8]
    assert empty == []


def model_config(**values: object) -> Any:
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(**{"vocab_size": 10, **values}))


def real_tokenizer(largest: int = 9, eos: int | None = 2, pad: str | None = None) -> Any:
    return SimpleNamespace(
        eos_token_id=eos, eos_token="</s>", pad_token=pad, get_vocab=lambda: {"a": 0, "last": largest},
        convert_ids_to_tokens=lambda number: "last")  # fmt: skip


def check(tokenizer: Any, model: Any, max_length: int = 64) -> None:
    tokenization.check(tokenizer, model, "base", "models.detox.train", max_length)


def test_tokenizer_and_model_that_fit_pass_and_a_missing_pad_token_is_the_end_token() -> None:
    tokenizer = real_tokenizer()
    check(tokenizer, model_config(max_position_embeddings=64))
    assert tokenizer.pad_token == "</s>"
    padded = real_tokenizer(pad="<pad>")
    check(padded, model_config())  # no limit of positions, as BLOOM
    assert padded.pad_token == "<pad>"


@pytest.mark.parametrize(
    ("tokenizer", "model", "said"),
    [
        (real_tokenizer(eos=None), model_config(), r"^models\.base: its tokenizer has no end token"),
        (
            real_tokenizer(largest=10),
            model_config(),
            r"^models\.base: its tokenizer's largest token id is 10 \('last'\), but the model has embeddings for 10",
        ),
        (
            real_tokenizer(),
            model_config(max_position_embeddings=63),
            r"^models\.detox\.train\.max_length: 64 is more than base's limit of 63 positions",
        ),
    ],
)
def test_what_does_not_fit_together_is_an_error_that_says_so(tokenizer: Any, model: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(tokenizer, model)
