"""Both engines on the same small model: equal where they must be, and each deterministic by (prompt, sample)."""

from collections.abc import Callable, Iterator

import pytest
from small_generation import GREEDY, PROMPTS, config

from detox_ray.config import GenerateConfig
from detox_ray.generate import prompt_seed
from detox_ray.generate.engine import Completion, Engine
from detox_ray.generate.engines import start
from detox_ray.models import LoadableModel

pytestmark = pytest.mark.integration

TEXTS = [text for texts in PROMPTS.values() for text in texts]
SEEDS = [prompt_seed(0, str(row)) for row in range(len(TEXTS))]

Load = Callable[[str, GenerateConfig], Engine]


@pytest.fixture
def load(small_model: LoadableModel) -> Iterator[Load]:
    """Loads an engine, and closes it after the test."""
    loaded: list[Engine] = []

    def start_one(name: str, settings: GenerateConfig) -> Engine:
        loaded.append(start(name, small_model.location, small_model.loading(), small_model.dtype, settings))
        return loaded[-1]

    yield start_one
    for engine in loaded:
        engine.close()


def test_greedy_completions_of_both_engines_are_equal(load: Load) -> None:
    settings = config(**GREEDY, max_tokens=16)
    mine, vllms = (load(name, settings).generate(TEXTS, SEEDS) for name in ("transformers", "vllm"))
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
def test_sample_k_equals_a_single_request_with_seed_plus_k(load: Load, name: str) -> None:
    samples = load(name, config(samples=4)).generate(TEXTS[:2], SEEDS[:2]).completions
    single = load(name, config(samples=1)).generate([TEXTS[0]] * 4, [SEEDS[0] + k for k in range(4)]).completions
    assert samples[0] == [completion for (completion,) in single]


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_prompt_longer_than_the_model_takes_loses_its_beginning_and_is_counted(load: Load, name: str) -> None:
    engine = load(name, config(**GREEDY))
    ending = "Anna says that Leo is a"
    long = engine.generate(["Leo is kind. " * 400 + ending, "Leo is"], [1, 2])
    assert long.cut == 1
    (completion,) = long.completions[0]
    assert isinstance(completion, Completion) and completion.tokens >= 1


def test_max_tokens_that_leave_no_room_for_a_prompt_are_refused(load: Load) -> None:
    with pytest.raises(ValueError, match=r"generate\.max_tokens: must be at most 255: 256 tokens fit"):
        load("transformers", config(max_tokens=256))
