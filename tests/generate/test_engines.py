"""Both engines on the same small model: equal where they must be, and each deterministic by (prompt, sample)."""

from collections.abc import Callable

import pytest
from small_generation import PROMPTS, config

from detox_ray.config import GenerateConfig
from detox_ray.generate import prompt_seed
from detox_ray.generate.engine import Completion, Engine

pytestmark = pytest.mark.integration

TEXTS = [text for texts in PROMPTS.values() for text in texts]
SEEDS = [prompt_seed(0, str(row)) for row in range(len(TEXTS))]

GREEDY = {"samples": 1, "temperature": 0, "top_p": 1.0, "max_tokens": 16}
Load = Callable[[str, GenerateConfig], Engine]


def test_greedy_completions_of_both_engines_are_equal(load: Load) -> None:
    mine, vllms = (load(name, config(**GREEDY)).generate(TEXTS, SEEDS) for name in ("transformers", "vllm"))
    assert mine == vllms
    assert len({completion.text for (completion,) in mine.completions}) > 1


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_samples_have_their_own_seeds_and_do_not_depend_on_the_batch(load: Load, name: str) -> None:
    engine = load(name, config())
    together = engine.generate(TEXTS, SEEDS).completions
    assert [[sample.seed for sample in samples] for samples in together] == [
        [seed + k for k in range(25)] for seed in SEEDS
    ]
    assert all(len({sample.text for sample in samples}) > 5 for samples in together)
    backwards = [engine.generate([TEXTS[row]], [SEEDS[row]]).completions[0] for row in reversed(range(len(TEXTS)))]
    assert backwards[::-1] == together


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_sample_k_is_the_first_of_a_request_with_seed_plus_k(load: Load, name: str) -> None:
    engine = load(name, config())
    (samples,) = engine.generate(TEXTS[:1], SEEDS[:1]).completions
    moved = engine.generate([TEXTS[0]] * 4, [SEEDS[0] + k for k in range(4)]).completions
    assert samples[:4] == [first for first, *_ in moved]


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_one_seed_for_all_draws_the_same_completions_again_as_a_whole(load: Load, name: str) -> None:
    engine = load(name, config(seeding="unit"))
    together = engine.generate(TEXTS, 7).completions
    assert {sample.seed for samples in together for sample in samples} == {7}
    assert all(len({sample.text for sample in samples}) > 5 for samples in together)
    engine.generate(["Leo is kind. " * 20, *TEXTS[::-1]], 8)  # another unit, which leaves prompts in the cache
    engine.generate(TEXTS, SEEDS)
    assert engine.generate(TEXTS, 7).completions == together

    other, by_prompt = (engine.generate(TEXTS, seeds).completions for seeds in (8, SEEDS))
    texts = [[[sample.text for sample in samples] for samples in each] for each in (together, other, by_prompt)]
    assert all(len({str(each[row]) for each in texts}) == 3 for row in range(len(TEXTS)))


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_prompt_longer_than_the_model_takes_loses_its_beginning_and_is_counted(load: Load, name: str) -> None:
    engine = load(name, config(**GREEDY))
    ending = "Anna says that Leo is a"
    long = engine.generate(["Leo is kind. " * 400 + ending, "Leo is"], [1, 2])
    assert long.cut == [0]
    (completion,) = long.completions[0]
    assert isinstance(completion, Completion) and completion.tokens >= 1


def test_max_tokens_that_leave_no_room_for_a_prompt_are_refused(load: Load) -> None:
    with pytest.raises(ValueError, match="a completion may have at most 255 tokens: 256 tokens fit"):
        load("transformers", config(max_tokens=256))
