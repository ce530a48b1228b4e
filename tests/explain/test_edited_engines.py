"""An edit in vLLM is the edit in transformers: equal texts and losses; undone, the texts are the old ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from planted_world import context, experiment, save_models
from stage_alone import run_alone
from tiny_families import tiny
from tiny_tokenizers import FORMS, tokenizer

import detox_ray.toy17
from detox_ray.config import GenerateConfig, InputError
from detox_ray.explain.editable_models import EditableModel, TransformersModel, VLLMModel
from detox_ray.explain.tables import ALL, INTERVENTIONS
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.edits import NeuronWeights, neuron_weights
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LOADING = {"revision": None, "trust_remote_code": False}
GREEDY = GenerateConfig(samples=1, temperature=0, max_tokens=16)
SHIPPED = Path(detox_ray.toy17.__file__).parent / "shipped"
TOY17: list[Neuron] = [(layer, index) for layer in range(4) for index in range(3, 352, 25)]


def pair(path: Path, config: GenerateConfig) -> tuple[TransformersModel, VLLMModel]:
    model = CausalModel(str(path), LOADING, "float32")
    return TransformersModel(model, config), VLLMModel(str(path), LOADING, "float32", config)


def texts(model: EditableModel, prompts: list[str]) -> list[str]:
    generated = model.engine.generate(prompts, list(range(len(prompts))))
    return [samples[0].text for samples in generated.completions]


@pytest.fixture(scope="module")
def toy17() -> Iterator[tuple[TransformersModel, VLLMModel]]:
    """A gated MLP without biases."""
    both = pair(SHIPPED / "model", GREEDY)
    yield both
    both[1].engine.close()


def of_another_model(mlps: Mlps, neurons: list[Neuron]) -> dict[int, NeuronWeights]:
    """Return weights as a model might have that was trained otherwise: others' value vectors, turned keys."""
    weights = neuron_weights(mlps, neurons)
    for given in weights.values():
        given.values_nD.copy_(4 * given.values_nD.roll(1, 0))
        for rows in given.incoming:
            rows.neg_()
    return weights


def prompts_of_toy17() -> list[str]:
    rows = [json.loads(line) for line in (SHIPPED / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows[:: len(rows) // 40]]


def test_a_strong_offset_gives_the_texts_of_transformers_and_leaves_none(
    toy17: tuple[TransformersModel, VLLMModel],
) -> None:
    transformers, vllm = toy17
    prompts = prompts_of_toy17()
    before = texts(vllm, prompts)
    assert before == texts(transformers, prompts)
    amounts = [-4.0] * len(TOY17)
    with transformers.offset(TOY17, amounts):
        expected, losses = texts(transformers, prompts), transformers.losses([*prompts, ""])
    with vllm.offset(TOY17, amounts):
        assert texts(vllm, prompts) == expected
        assert vllm.losses([*prompts, ""]) == [(pytest.approx(nll, rel=1e-4), n) for nll, n in losses]
    assert sum(new != old for new, old in zip(expected, before, strict=True)) > len(prompts) / 2
    assert texts(vllm, prompts) == before
    assert losses[-1] == (0.0, 0)


def test_an_offset_that_changes_nothing_is_an_error(toy17: tuple[TransformersModel, VLLMModel]) -> None:
    _, vllm = toy17
    with pytest.raises(InputError, match="changed no probability"), vllm.offset(TOY17, [0.0] * len(TOY17)):
        pass


def test_a_transplant_gives_the_texts_of_transformers_and_leaves_none(
    toy17: tuple[TransformersModel, VLLMModel],
) -> None:
    transformers, vllm = toy17
    prompts = prompts_of_toy17()
    before = texts(vllm, prompts)
    weights = of_another_model(transformers.mlps, TOY17)
    with transformers.transplanted(weights):
        expected, losses = texts(transformers, prompts), transformers.losses(prompts)
    with vllm.transplanted(weights):
        assert texts(vllm, prompts) == expected
        assert vllm.losses(prompts) == [(pytest.approx(nll, rel=1e-4), n) for nll, n in losses]
    assert sum(new != old for new, old in zip(expected, before, strict=True)) > len(prompts) / 2
    assert texts(vllm, prompts) == before
    with vllm.transplanted(neuron_weights(transformers.mlps, TOY17)):  # its own: changes nothing, and is no error
        assert texts(vllm, prompts) == before


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_a_projection_with_a_bias_keeps_it(family: str, tmp_path: Path) -> None:
    words = tokenizer(FORMS["eos, which is bos"])
    network = tiny(family, len(words), words.eos_token_id)
    for down in Mlps(network).downs:
        torch.nn.init.normal_(down.bias, std=0.5)
    network.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    neurons: list[Neuron] = [(0, 3), (0, 50), (1, 7), (1, 8)]
    prompts = ["my neighbour", "Anna is the one", "a fool", "Ben"]
    transformers, vllm = pair(tmp_path, GREEDY)
    try:
        before = texts(vllm, prompts)
        with transformers.offset(neurons, [-8.0] * 4), vllm.offset(neurons, [-8.0] * 4):
            edited = texts(vllm, prompts)
            assert edited == texts(transformers, prompts) != before
            expected = [(pytest.approx(nll, rel=1e-4), tokens) for nll, tokens in transformers.losses(prompts)]
            assert vllm.losses(prompts) == expected
        assert texts(vllm, prompts) == before
        weights = of_another_model(transformers.mlps, neurons)
        with transformers.transplanted(weights), vllm.transplanted(weights):
            # BLOOM's activation in vLLM is the exact GELU, in transformers its approximation.
            expected = [(pytest.approx(nll, rel=1e-3), tokens) for nll, tokens in transformers.losses(prompts)]
            assert vllm.losses(prompts) == expected
        assert texts(vllm, prompts) == before
    finally:
        vllm.engine.close()


def test_the_stage_finds_in_vllm_what_it_finds_in_transformers(tmp_path: Path) -> None:
    """Offsets of the parent, and transplants in both directions, for which the parent's engine replaces the model's."""
    save_models(tmp_path)
    found = []
    for engine in ("transformers", "vllm"):
        within = context(experiment(tmp_path, engine=engine, parallel=None) | {"name": engine})
        run_alone(within, [stage for stage in within.stages if stage.name == "explain"])
        units = [unit for unit in within.units(*ALL) if unit.table == INTERVENTIONS.name]
        assert {within.planned[unit].settings["engine"].name for unit in units} == {engine}
        rows = [
            ((unit["model"], unit["edit"], row["edited"], row["language"], row["quantity"], row["item_id"]), row)
            for unit in units
            for row in within.store.read(unit, within.keys[unit]).to_pylist()
        ]
        found.append({key: (row["total"], row["count"]) for key, row in rows})
    expected, in_vllm = found
    assert expected.keys() == in_vllm.keys() and {key[1] for key in expected} >= {"into-model_1_0", "into-parent_1_0"}
    assert in_vllm == {key: (pytest.approx(total, rel=1e-3), count) for key, (total, count) in expected.items()}
