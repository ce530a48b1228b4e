"""Every text has the same prefix in training, generation, serving and likelihoods, whatever the tokenizer does."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_tokenizers import FORMS, Form, save, tokenizer

from detox_ray.config import GenerateConfig, InputError, LimitsConfig, TrainConfig
from detox_ray.generate import vllm_engine
from detox_ray.models import LoadableModel
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.codec import CONTEXT, Codec, Encoder, context_of, prefix_of, prompt_limit
from detox_ray.models.device import Device, machine_has_gpu
from detox_ray.models.families import stated_positions
from detox_ray.score.evaluators import CausalEvaluator
from detox_ray.score.likelihood import LikelihoodWorker
from detox_ray.serve.workers.prompt_encoder import PromptEncoder
from detox_ray.storage import Store
from detox_ray.train.tokenization import pair_rows, text_rows

PROMPT = "my neighbour is"
PAIR = {"pair_id": "0", "prompt": PROMPT, "chosen": " kind", "rejected": " a fool"}

each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def train_config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({"parent": "base", "max_length": 64, **changes})


def trained_on(words: Any, prompt: str = PROMPT, **changes: Any) -> list[int]:
    ((row,),) = pair_rows([{**PAIR, "prompt": prompt}], words, train_config(**changes))
    ids: list[int] = row["prompt_ids"]
    return ids


@each_form
@pytest.mark.parametrize("space_first", [False, True])
def test_prefix_is_what_the_tokenizer_itself_puts_before_a_text(form: Form, space_first: bool) -> None:
    words = tokenizer(form, space_first)
    assert words.convert_ids_to_tokens(prefix_of(words)) == form.prefix
    whole = words(PROMPT)["input_ids"]
    (ids,) = Encoder(words).ids([PROMPT])
    assert ids == whole[: len(ids)] and len(whole) - len(ids) == form.template.endswith("</s>")


@each_form
def test_training_generation_serving_and_likelihood_see_the_same_ids(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tokenizer(form)
    save(tmp_path, words)
    codec = Codec(str(tmp_path), {})
    whole = words(PROMPT)["input_ids"]
    expected = whole[:-1] if form.template.endswith("</s>") else whole
    assert trained_on(codec.tokenizer) == expected
    assert codec.encode([PROMPT], 64).ids == [expected]
    assert asyncio.run(PromptEncoder(codec, LimitsConfig()).encode_completion({"prompt": PROMPT})) == [expected]
    ((row,),) = text_rows([{"text_id": "0", "text": PROMPT}], words, train_config(method="sft", train_on="corpus"))
    assert row["input_ids"] == [*expected, words.eos_token_id]
    assert likelihood_of(codec).measure([PROMPT]).ids == [expected]
    evaluator = CausalEvaluator.__new__(CausalEvaluator)
    evaluator._codec, evaluator.context = codec, 64
    assert evaluator.prompts([PROMPT]) == [expected]
    assert vllm_prompts(tmp_path, [PROMPT], monkeypatch) == [expected]


def likelihood_of(codec: Codec, network: Any = None) -> LikelihoodWorker:
    model = CausalModel.__new__(CausalModel)
    model.codec, model.device = codec, Device("cpu", "cpu")
    model.network = network or (lambda **given: SimpleNamespace(logits=torch.zeros(*given["input_ids"].shape, 300)))
    worker = LikelihoodWorker.__new__(LikelihoodWorker)
    worker._model, worker._codec, worker._budget = model, codec, 8192
    worker._given = max(1, len(codec.prefix))
    return worker


def vllm_prompts(folder: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return the ids that the vLLM engine hands to vLLM."""
    given: list[list[int]] = []

    def generate(prompts: list[Any], *_: Any, **__: Any) -> list[Any]:
        given.extend(prompt["prompt_token_ids"] for prompt in prompts)
        sample = SimpleNamespace(token_ids=[7], finish_reason="stop", index=0)
        return [SimpleNamespace(outputs=[sample]) for _ in prompts]

    fake = SimpleNamespace(SamplingParams=SimpleNamespace, TokensPrompt=dict)
    monkeypatch.setitem(sys.modules, "vllm", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(vllm_engine.vllm_options, "start", lambda *_, **__: SimpleNamespace(generate=generate))
    config = GenerateConfig(samples=1, max_tokens=4)
    vllm_engine.VLLMEngine(str(folder), {}, "auto", config).generate(prompts, [0] * len(prompts))
    return given


def test_transformers_engine_reads_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from detox_ray.generate.transformers_engine import TransformersEngine

    words = tokenizer(FORMS["GLM"])
    save(tmp_path, words)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    model.save_pretrained(tmp_path)
    greedy = GenerateConfig(samples=1, temperature=0, max_tokens=3)
    engine = TransformersEngine(CausalModel(str(tmp_path), {}, "auto"), greedy)
    ((found,),) = engine.generate([PROMPT], [0]).completions
    ids = words(PROMPT, return_tensors="pt")["input_ids"]
    made = model.eval().generate(ids, do_sample=False, max_new_tokens=3, eos_token_id=words.eos_token_id)
    assert found.text == words.decode(made[0, ids.shape[1] :], skip_special_tokens=True).rstrip("\ufffd")


@each_form
def test_an_empty_text_is_the_prefix_or_else_a_token_that_stands_before_texts(form: Form, tmp_path: Path) -> None:
    words = tokenizer(form)
    save(tmp_path, words)
    (ids,) = Codec(str(tmp_path), {}).encode([""], 64).ids
    assert words.convert_ids_to_tokens(ids) == (form.prefix or [form.names["bos_token"]])
    assert trained_on(words, prompt="") == ids


def test_a_padding_token_without_a_vector_is_not_used(tmp_path: Path) -> None:
    words = tokenizer(FORMS["one of two bos"])
    save(tmp_path, words)
    vocabulary = len(words)
    words.add_special_tokens({"pad_token": "<no vector>"})
    words.save_pretrained(tmp_path)
    codec = Codec(str(tmp_path), {})
    assert codec.tokenizer.pad_token_id == vocabulary == codec.vocabulary
    assert 0 <= codec.pad < vocabulary


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_does_not_count(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / "nvidia0"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine_has_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not machine_has_gpu()


@each_form
def test_a_long_prompt_keeps_its_prefix(form: Form, tmp_path: Path) -> None:
    words = tokenizer(form)
    save(tmp_path, words)
    codec, long = Codec(str(tmp_path), {}), "Ben likes " * 40 + PROMPT
    encoded = codec.encode([long], 10)
    prefix = words.convert_tokens_to_ids(form.prefix)
    plain = words(long, add_special_tokens=False)["input_ids"]
    assert encoded == ([prefix + plain[len(prefix) - 10 :]], [0])
    cut = trained_on(words, prompt=long, length_filter=None, truncation="prompt-first", max_prompt_length=10)
    assert cut == encoded.ids[0]


@each_form
def test_the_papers_recipe_adds_a_begin_token_only_where_the_tokenizer_puts_nothing(form: Form) -> None:
    words = tokenizer(form)
    begin = form.prefix or [form.names["bos_token"]]
    ids = trained_on(words, recipe="paper", max_length=128)
    assert words.convert_ids_to_tokens(ids[: len(begin)]) == begin
    assert ids[len(begin) :] == words(PROMPT, add_special_tokens=False)["input_ids"]


def test_likelihood_does_not_count_what_stands_before_the_text(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(FORMS["GLM"])
    save(tmp_path, words)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)).eval()
    worker = likelihood_of(Codec(str(tmp_path), {}), model)
    measured = worker.measure([PROMPT, ""])
    ids = words(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        log_probabilities = model(ids).logits.log_softmax(-1)[0]
    expected = -sum(float(log_probabilities[at - 1, ids[0, at]]) for at in range(2, ids.shape[1]))
    assert measured.nll == [pytest.approx(expected, rel=1e-5), None]


@pytest.mark.parametrize("family", ["gpt2", "bloom", "llama", "cohere", "gemma2", "mistral", "qwen3"])
def test_families_of_the_papers_see_the_same_ids_everywhere(family: str, tmp_path: Path) -> None:
    """Each with what its published tokenizer puts before a text."""
    from transformers import AutoConfig

    form = FORMS["bos" if family in ("llama", "cohere", "gemma2", "mistral") else "nothing"]
    words = tokenizer(form)
    save(tmp_path, words)
    AutoConfig.for_model(family, vocab_size=len(words)).save_pretrained(tmp_path)
    codec = Codec(str(tmp_path), {})
    expected = words(PROMPT)["input_ids"]
    assert trained_on(codec.tokenizer) == codec.encode([PROMPT], 64).ids[0] == expected
    assert likelihood_of(codec).measure([PROMPT]).ids == [expected]
    assert asyncio.run(PromptEncoder(codec, LimitsConfig()).encode_completion({"prompt": PROMPT})) == [expected]


@pytest.mark.parametrize(
    ("config", "tokenizer_limit", "expected"),
    [
        ({"max_position_embeddings": 512}, 1e30, 512),
        ({"n_positions": 1024}, 256, 1024),
        ({"seq_length": 2048}, None, 2048),
        ({"max_position_embeddings": 131_072}, None, CONTEXT),
        ({"max_position_embeddings": -1}, 512, 512),  # XLNet: no limit
        ({"max_position_embeddings": 0}, 1e30, 2048),
        ({"max_position_embeddings": None}, -1, 2048),
        ({}, None, 2048),  # BLOOM
        ({"text_config": {"max_position_embeddings": 300}, "max_position_embeddings": 77}, None, 300),
    ],
)
def test_context_is_the_configs_positive_limit_or_the_tokenizers(
    config: dict[str, Any], tokenizer_limit: float | None, expected: int
) -> None:
    assert context_of(config, tokenizer_limit) == expected
    inner = SimpleNamespace(**config.get("text_config", config))
    assert context_of(SimpleNamespace(get_text_config=lambda: inner), tokenizer_limit) == expected


def test_xlnets_lack_of_a_limit_is_none() -> None:
    from transformers import XLNetConfig

    assert stated_positions(XLNetConfig()) is None


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_room_is_for_the_prefix_and_at_least_one_token_of_the_prompt(prefix: int) -> None:
    assert prompt_limit(128, prefix, 128 - prefix - 1) == prefix + 1
    with pytest.raises(InputError, match=rf"^a completion may have at most {127 - prefix} tokens: 128 tokens fit"):
        prompt_limit(128, prefix, 128 - prefix)


def test_a_real_likelihood_worker_takes_the_codecs_prefix(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer(FORMS["XGLM"])
    save(tmp_path, words)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)).save_pretrained(tmp_path)
    model = LoadableModel("base", str(tmp_path), False, None, "auto", "k")
    measured = LikelihoodWorker(model, 8192, Store.at(str(tmp_path / "run"))).measure([PROMPT])
    assert measured.ids == [words(PROMPT)["input_ids"]]
    assert measured.nll[0] is not None
