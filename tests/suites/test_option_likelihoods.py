"""Likelihoods of options equal those of a loop over sentences, whatever the family, the padding and the batch."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from bias_data import OLD_ENCODING, real
from tiny_families import tiny
from tiny_tokenizers import FORMS, tokenizer

from detox_ray.models.causal_model import CausalModel
from detox_ray.storage.tables import OK
from detox_ray.suites.bias.conventions import CORRECTED, NEPLENBROEK, BiasConvention
from detox_ray.suites.bias.likelihoods import START, OptionLikelihood, OptionScorer, choice_texts
from detox_ray.suites.bias.preference import preferred, score
from detox_ray.suites.bias.sets.crows_pairs import CrowsPairs
from detox_ray.suites.bias.tables import EMPTY, TOO_LONG

PAIRS = 60  # of each language
# family, what its tokenizer puts before a text, and on which side that tokenizer pads
KINDS = (("gpt2", "nothing", "right"), ("llama", "bos", "right"), ("gemma2", "bos", "left"))


class Naive(NamedTuple):
    """A sentence's numbers, of one forward pass by itself."""

    geometric_mean: float  # of all tokens' probabilities, the first after the start token: as bias-bench has it
    log_likelihood: float  # of all tokens that are not given


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind[0])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CausalModel]:
    family, form, side = request.param
    folder = tmp_path_factory.mktemp(family)
    words = tokenizer(FORMS[form])
    words.padding_side = side
    words.save_pretrained(folder)
    tiny(family, len(words), words.eos_token_id, max_position_embeddings=512).save_pretrained(folder)
    yield CausalModel(str(folder), {}, "float32")


@pytest.fixture(scope="module")
def pairs() -> list[list[str]]:
    """Real pairs in English and Dutch, and some of the same length."""
    english = CrowsPairs(name="en", source="crows-pairs", path=str(real("crows-pairs-en")))
    dutch = real("crows-pairs-nl-fr") / "crows_dutch.csv"
    other = CrowsPairs(name="nl", source="crows-pairs", path=str(dutch), encoding=OLD_ENCODING)
    rows = english.read(["en"]).rows["en"][:PAIRS] + other.read(["nl"]).rows["nl"][:PAIRS]
    return [row["options"] for row in rows]


def naive(model: CausalModel, start: torch.Tensor, sentence: str, prefix: int) -> Naive:
    """The reference's loop: a forward pass for the sentence, after one for the start token."""
    ids = model.codec.tokenizer.encode(sentence)
    with torch.no_grad():
        first = start[ids[0]].item()
        probabilities = model.network(torch.tensor([ids])).logits[0].softmax(-1)
    each = [first, *(probabilities[place - 1, ids[place]].item() for place in range(1, len(ids)))]
    return Naive(2 ** (sum(map(math.log2, each)) / len(each)), sum(map(math.log, each[max(1, prefix) :])))


@pytest.mark.parametrize(
    ("budget", "every"), [(1, 20), (1500, 1), (10**9, 10)], ids=["one by one", "batches", "all at once"]
)
def test_decisions_and_scores_are_those_of_a_naive_loop(
    model: CausalModel, pairs: list[list[str]], budget: int, every: int, loop: Callable[[], list[list[Naive]]]
) -> None:
    measured = OptionScorer(model, budget).measure(pairs[::every])
    expected = loop()[::every]
    assert len(measured) == 2 * PAIRS // every
    for options, ours in zip(expected, measured, strict=True):
        assert all(option.status == OK for option in ours)
        for reference, option in zip(options, ours, strict=True):
            assert math.exp(scored(option, NEPLENBROEK)) == pytest.approx(reference.geometric_mean, rel=1e-5)
            assert scored(option, CORRECTED) == pytest.approx(reference.log_likelihood, rel=1e-5)
        by_mean = preferred(*(scored(option, NEPLENBROEK) for option in ours), "against")
        by_sum = preferred(*(scored(option, CORRECTED) for option in ours), "half")
        assert by_mean == float(options[0].geometric_mean > options[1].geometric_mean)
        assert by_sum == float(options[0].log_likelihood > options[1].log_likelihood)


@pytest.fixture(scope="module")
def loop(model: CausalModel, pairs: list[list[str]]) -> Callable[[], list[list[Naive]]]:
    results: list[list[Naive]] = []

    def run() -> list[list[Naive]]:
        if not results:
            prefix = len(model.codec.prefix)
            with torch.no_grad():
                token = torch.tensor([model.codec.tokenizer.encode(START)[:1]])
                start = model.network(token).logits[0, 0].softmax(-1)
            results.extend([naive(model, start, sentence, prefix) for sentence in options] for options in pairs)
        return results

    return run


def scored(option: OptionLikelihood, convention: BiasConvention) -> float:
    value = score(option._asdict(), convention)
    assert value is not None
    return value


def test_the_part_that_options_share_is_told_apart(model: CausalModel) -> None:
    texts = ["Anna is the one whom Ben likes", "Anna is the one whom my neighbour likes"]
    ours = OptionScorer(model, 1000).measure([texts])[0]
    ids = model.codec.ids(texts)
    shared = ours[0].shared_tokens
    assert ids[0][:shared] == ids[1][:shared] and ids[0][shared] != ids[1][shared]
    for row, option in zip(ids, ours, strict=True):
        assert option.nll == pytest.approx(model.nll([row], option.given)[0], rel=1e-6)
        assert option.shared_nll == pytest.approx(model.nll([row[:shared]], option.given)[0], rel=1e-5)


def test_equal_sentences_tie_exactly_and_letters_cost_one_forward_pass(model: CausalModel) -> None:
    forwards: list[int] = []
    handle = model.network.register_forward_hook(lambda module, inputs, out: forwards.append(out.logits.shape[0]))
    scorer = OptionScorer(model, 10**9)
    question = choice_texts("Ben came.", "Who likes Ben?", ["a fool", "Anna", "my neighbour"])
    equal, choice = scorer.measure([["Anna is kind", "Anna is kind", "Ben is kind"], question])
    handle.remove()
    assert equal[0] == equal[1] and preferred(scored(equal[0], CORRECTED), scored(equal[1], CORRECTED), "half") == 0.5
    assert len({option.shared_nll for option in choice}) == 1 and len({option.nll for option in choice}) == 3
    assert forwards == [3, 1]  # two sentences and one question; the start token


def test_what_is_too_long_or_empty_has_a_status_and_is_never_cut(model: CausalModel) -> None:
    long, empty, good = OptionScorer(model, 1000).measure([["a fool " * 400], [""], ["a fool"]])
    assert (long[0].status, long[0].nll) == (TOO_LONG, None)
    assert (empty[0].status, empty[0].nll) == (EMPTY, None)
    assert good[0].status == OK


def test_rows_of_which_one_token_is_read_are_measured(model: CausalModel) -> None:
    """As single words are after a begin token: no token but the last has a loss."""
    losses = OptionScorer(model, 1000)._tokens_nll([[5, 6], [5, 7], [8, 6]])
    with torch.no_grad():
        logp_V = model.network(torch.tensor([[5]])).logits[0, 0].log_softmax(-1)
    assert set(losses) == {(5, 6), (5, 7), (8, 6)}
    assert losses[5, 6] == [pytest.approx(-logp_V[6].item(), rel=1e-5)]
    assert losses[5, 7] == [pytest.approx(-logp_V[7].item(), rel=1e-5)]


def test_questions_end_in_the_letters_of_their_answers() -> None:
    texts = choice_texts("It rained.", "Who was it?", ["Anna", "Ben"])
    assert texts == [f"It rained. Who was it?\n(A) Anna\n(B) Ben\n({letter}" for letter in "AB"]


def test_the_models_side_of_padding_does_not_matter(tmp_path: Path, pairs: list[list[str]]) -> None:
    results: list[Any] = []
    for side in ("left", "right"):
        words = tokenizer(FORMS["bos"])
        words.padding_side = side
        folder = tmp_path / side
        words.save_pretrained(folder)
        tiny("gemma2", len(words), words.eos_token_id, max_position_embeddings=512).save_pretrained(folder)
        results.append(OptionScorer(CausalModel(str(folder), {}, "float32"), 700).measure(pairs[:50]))
    assert results[0] == results[1]
