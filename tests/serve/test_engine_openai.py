"""Completions and chat through the official client.

Each model answers as offline generation does, options have their effect, and what vLLM rejects is a 4xx that names the
field.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from service import Service

from detox_ray.config import GenerateConfig
from detox_ray.generate import engines
from detox_ray.generate.engine import Completion
from detox_ray.models.codec import UNFINISHED
from detox_ray.serve.spec import arguments, resolve

pytestmark = pytest.mark.integration

PROMPTS = ["the king", "la reina", "その"]
SEEDS = [11, 222, 3333]
SAMPLED = {"samples": 4, "temperature": 0.9, "top_p": 0.8, "max_tokens": 12}
GREEDY = {"samples": 1, "temperature": 0.0, "top_p": 1.0, "max_tokens": 12}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def offline(run: str, model: str, options: dict[str, Any], engine: str = "vllm") -> list[list[Completion]]:
    """Return offline completions of `PROMPTS` from the model's own folder (for lora the merged weights)."""
    (spec,) = resolve(arguments(run, [], [], ["share_engines=false", f"models=[{model}]"])).engines
    store = resolve(arguments(run, [], [], [])).store
    path, loading = spec.model.local_path(store), spec.model.loading()
    loaded = engines.start(engine, path, loading, spec.model.dtype, GenerateConfig(**options))
    try:
        return loaded.generate(PROMPTS, SEEDS).completions
    finally:
        loaded.close()


def ask(client: openai.OpenAI, model: str, options: dict[str, Any]) -> list[list[str]]:
    """Return the service's completions of `PROMPTS`."""
    found = []
    for prompt, seed in zip(PROMPTS, SEEDS, strict=True):
        answer = client.completions.create(
            model=model,
            prompt=prompt,
            seed=seed,
            n=options["samples"],
            temperature=options["temperature"],
            top_p=options["top_p"],
            max_tokens=options["max_tokens"],
        )
        found.append([choice.text.rstrip(UNFINISHED) for choice in answer.choices])
    return found


def texts(completions: list[list[Completion]]) -> list[list[str]]:
    return [[sample.text for sample in samples] for samples in completions]


def test_base_and_adapter_differ_and_each_is_its_offline_generation(client: openai.OpenAI, run: str) -> None:
    base, lora = offline(run, "base", SAMPLED), offline(run, "lora", SAMPLED)
    assert ask(client, "base", SAMPLED) == texts(base)
    assert ask(client, "lora", SAMPLED) == texts(lora)
    assert texts(base) != texts(lora)

    body = {"prompt": PROMPTS[0], "models": ["base", "lora"], "seed": SEEDS[0], "scorers": [], **SAMPLED}
    answer = httpx.post(f"{client.base_url}compare", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    for model, alone in (("base", base), ("lora", lora)):
        drawn = [sample for sample in answer.json()["completions"] if sample["model"] == model]
        for sample, expected in zip(sorted(drawn, key=lambda sample: sample["sample"]), alone[0], strict=True):
            assert sample["text"] == expected.text
            assert sample["tokens"] == expected.tokens
            assert sample["finish_reason"] == expected.finish_reason


def test_greedy_adapter_is_the_merged_model(client: openai.OpenAI, run: str) -> None:
    """Transformers computes the merged model: greedy, it completes as vLLM does."""
    assert ask(client, "lora", GREEDY) == texts(offline(run, "lora", GREEDY, "transformers"))


@pytest.mark.parametrize("model", ["base", "lora", "full"])
def test_stream_adds_up_to_the_whole_answer(client: openai.OpenAI, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "prompt": PROMPTS, "n": 2, "seed": 5, "max_tokens": 10}
    whole = client.completions.create(**asked)
    grown = [""] * 6
    ended: dict[int, str] = {}
    used = None
    for event in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        used = event.usage or used
        for choice in event.choices:
            grown[choice.index] += choice.text
            if choice.finish_reason is not None:
                ended[choice.index] = choice.finish_reason
    assert grown == [choice.text for choice in whole.choices]
    assert ended == {choice.index: choice.finish_reason for choice in whole.choices}
    assert used == whole.usage


def test_sample_k_is_the_request_with_seed_plus_k(client: openai.OpenAI) -> None:
    def ask(seed: int, n: int) -> list[str]:
        found = client.completions.create(model="base", prompt="the", seed=seed, n=n, max_tokens=8)
        return [choice.text for choice in found.choices]

    assert ask(70, 3) == [*ask(70, 1), *ask(71, 1), *ask(72, 1)]
    assert len(set(ask(70, 3))) == 3


def test_options_do_what_they_say(client: openai.OpenAI) -> None:
    def first(**options: Any) -> Any:
        asked = {"model": "base", "prompt": "the king", "seed": 1, "max_tokens": 10, **options}
        return client.completions.create(**asked).choices[0]

    greedy = first(temperature=0)
    assert first(temperature=0, seed=2).text == greedy.text
    assert first(temperature=1.0, top_p=1e-6).text == greedy.text
    assert first(temperature=2.0).text != greedy.text
    assert first(max_tokens=2).finish_reason == "length"

    free = first()
    word = free.text.split()[2]
    stopped = first(stop=[word])
    assert stopped.text == free.text.partition(word)[0]
    assert stopped.finish_reason == "stop"

    told = first(logprobs=3).logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs)
    assert all(value <= 0 for value in told.token_logprobs)
    assert all(3 <= len(best) <= 4 for best in told.top_logprobs)


def test_empty_prompt_is_what_stands_before_a_text(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="base", prompt="", max_tokens=4, seed=1)
    assert answer.usage is not None and answer.usage.prompt_tokens == 1


def test_chat_where_the_tokenizer_has_a_template(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "full", "messages": [{"role": "user", "content": "the king"}]}
    asked |= {"seed": 3, "max_tokens": 8}
    whole = client.chat.completions.create(**asked).choices[0]
    grown = "".join(
        event.choices[0].delta.content or "" for event in client.chat.completions.create(**asked, stream=True)
    )
    assert grown == whole.message.content
    same = client.completions.create(model="full", prompt="the king ", seed=3, max_tokens=8)
    assert same.choices[0].text == whole.message.content
    unbounded = client.chat.completions.create(model="full", messages=[{"role": "user", "content": "the"}], seed=1)
    assert unbounded.usage is not None and unbounded.usage.completion_tokens <= 512


def test_chat_without_a_template_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no chat template") as refused:
        client.chat.completions.create(model="base", messages=[{"role": "user", "content": "the king"}])
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"prompt": "the king " * 400}, "prompt"),
        ({"prompt": ["the", "the king " * 400]}, "prompt[1]"),
        ({"prompt": "the king " * 100, "max_tokens": 400}, "max_tokens"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"prompt": [10**6]}, "prompt"),
    ],
    ids=["prompt too long", "second prompt too long", "no room for the answer", "n greedy", "not a token"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_refusal_names_the_field(client: openai.OpenAI, options: dict[str, Any], param: str, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "base", "prompt": "the", "max_tokens": 8, "stream": stream, **options}
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**asked)
    assert refused.value.param == param


def test_long_chat_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="full", messages=[{"role": "user", "content": "the king " * 400}])
    assert refused.value.param == "messages"


def test_base_is_itself_beside_its_adapter_in_one_batch(client: openai.OpenAI) -> None:
    with ThreadPoolExecutor(2) as together:
        for _ in range(3):
            both = [together.submit(ask, client, model, SAMPLED) for model in ("base", "lora")]
            assert [found.result() for found in both] == [ask(client, model, SAMPLED) for model in ("base", "lora")]
