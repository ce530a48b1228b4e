"""Every family of models, tiny: trained under DeepSpeed, merged, read back by transformers, PEFT and vLLM."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from alone import train_alone
from peft import PeftModel
from small_training import commit_pairs, train_config
from tiny_families import FAMILIES, TIED, saved
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray.models import LoadableModel
from detox_ray.models.families import attention_implementation, family_of
from detox_ray.storage import Store
from detox_ray.train.training_job import TrainingJob

pytestmark = pytest.mark.integration

PROMPTS = ["Anna and Ben say that Carla is", "David and Emma say that Felix is"]
TUNINGS = ("full", "lora")
ADAPTED = [*((family, "lora") for family in FAMILIES), ("cohere", "orpo")]
BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None
NEW_TOKENS = 12
# Caps on logits, norms after a layer. Llamas are in every run; of all, the merged model is checked against its adapter.
UNLIKE_LLAMA = ("gemma2",)
SLOW = tuple(family for family in FAMILIES if family not in UNLIKE_LLAMA)


class Trained(NamedTuple):
    store: Store
    parents: dict[str, LoadableModel]
    infos: dict[tuple[str, str], dict[str, Any]]

    def folder(self, family: str, tuning: str) -> Path:
        return Path(self.store.path(f"checkpoints/{family}-{tuning}"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel) -> Trained:
    """Three steps each: full as TRL does it, under ZeRO-2; the paper's LoRA with the recipe `fast`, and once with ORPO,
    whose loss is computed from logits, under ZeRO-3 that shards even the smallest tensor."""
    folder = tmp_path_factory.mktemp("families")
    store, tokenizer = Store.at(str(folder / "run")), AutoTokenizer.from_pretrained(parent.location)
    parents = {family: saved(family, folder / family, tokenizer) for family in FAMILIES}
    zero3 = folder / "zero3.json"
    zero3.write_text(json.dumps({"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}}))
    same: dict[str, Any] = {"workers": 1, "max_steps": 3, "learning_rate": 3e-3, "validation_fraction": 0}
    lora = {"tuning": "lora", "lora": {"r": 4, "alpha": 16, "target_modules": "li2024"}, "deepspeed": str(zero3)}
    configs = {
        "full": train_config(**same, reference="live", batching="padded"),
        "lora": train_config(**same, **lora),
        "orpo": train_config(**same, **lora, method="orpo"),
        "qlora": train_config(**same, **{**lora, "tuning": "qlora", "deepspeed": "zero2"}),
        "qlora-4-bit": train_config(**same, **{**lora, "tuning": "qlora", "deepspeed": "zero2", "merge_into": "4-bit"}),
    }
    names = [(family, tuning) for family in FAMILIES for tuning in TUNINGS] + [("cohere", "orpo")]
    if BITSANDBYTES:
        names += [("llama", "qlora"), ("llama", "qlora-4-bit")]
    pairs = commit_pairs(store, 24)
    jobs = [
        TrainingJob(f"{family}-{tuning}", "k", configs[tuning], parents[family], pairs, 0, store, False)
        for family, tuning in names
    ]
    infos = dict(zip(names, train_alone(jobs), strict=True))
    errors = {name: info for name, info in infos.items() if isinstance(info, str)}
    assert not errors
    return Trained(store, parents, {name: info for name, info in infos.items() if not isinstance(info, str)})


def changed(parent: str, folder: Path) -> tuple[set[str], set[str]]:
    """Return the names of the parameters that differ, and of all."""
    before, after = (dict(AutoModelForCausalLM.from_pretrained(path).named_parameters()) for path in (parent, folder))
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}, set(before)


def logits(model: Any, folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**tokenizer(PROMPTS[0], return_tensors="pt")).logits
    return found


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_begins_where_policy_and_reference_agree(trained: Trained, family: str, tuning: str) -> None:
    info = trained.infos[family, tuning]
    assert (info["engine"], info["zero_stage"]) == ("DeepSpeedEngine", 2 if tuning == "full" else 3)
    losses = [row["loss"] for row in info["log"]]
    assert losses[0] == pytest.approx(0.6931472, abs=1e-5)  # log 2
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_full_tuning_changes_every_weight_that_has_a_gradient(trained: Trained, family: str) -> None:
    different, there = changed(trained.parents[family].location, trained.folder(family, "full"))
    assert there - different == set()


@pytest.mark.parametrize(("family", "tuning"), ADAPTED)
def test_adapters_change_what_the_list_names_and_nothing_else(trained: Trained, family: str, tuning: str) -> None:
    different, there = changed(trained.parents[family].location, trained.folder(family, tuning))
    listed = family_of(family).li2024 or ()
    assert different == {name for name in there if name.split(".")[-2] in listed and name.endswith(".weight")}


@pytest.mark.parametrize(("family", "tuning"), ADAPTED)
def test_merged_model_computes_what_parent_and_adapter_compute(trained: Trained, family: str, tuning: str) -> None:
    folder = trained.folder(family, tuning)
    parent = AutoModelForCausalLM.from_pretrained(trained.parents[family].location)
    plain = logits(parent, folder)
    merged = AutoModelForCausalLM.from_pretrained(folder)
    adapted = logits(PeftModel.from_pretrained(parent, folder / "adapter"), folder)
    torch.testing.assert_close(logits(merged, folder), adapted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(adapted, plain, atol=1e-3)
    shared = merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    assert shared == (family in TIED) == merged.config.tie_word_embeddings


@pytest.mark.skipif(not BITSANDBYTES, reason="bitsandbytes is not installed")
def test_4_bit_training_is_merged_into_the_parent_or_its_rounding(trained: Trained) -> None:
    into_parent, into_4_bit = (trained.folder("llama", f"qlora{suffix}") for suffix in ("", "-4-bit"))
    parent = AutoModelForCausalLM.from_pretrained(trained.parents["llama"].location)
    adapted = logits(PeftModel.from_pretrained(parent, into_parent / "adapter"), into_parent)
    merged, rounded = (AutoModelForCausalLM.from_pretrained(folder) for folder in (into_parent, into_4_bit))
    torch.testing.assert_close(logits(merged, into_parent), adapted, atol=1e-4, rtol=1e-4)
    # nf4: blocks of 64 values (here the rows), each a multiple of the block's largest out of 16
    blocks = rounded.model.layers[0].mlp.up_proj.weight.detach().flatten().view(-1, 64)
    assert max(len(block.unique()) for block in blocks) <= 16 < len(merged.model.layers[0].mlp.up_proj.weight.unique())


Tokens = dict[str, list[list[int]]]


@pytest.fixture(scope="module")
def by_vllm(trained: Trained) -> Callable[[str], list[list[int]]]:
    """Return a merged model's greedy tokens; models that are tested together come from one process."""

    @cache
    def tokens(families: tuple[str, ...]) -> Tokens:
        folders = {family: trained.folder(family, "lora") for family in families}
        models = {
            family: (str(folder), AutoTokenizer.from_pretrained(folder)(PROMPTS)["input_ids"])
            for family, folder in folders.items()
        }
        process = subprocess.run(
            [sys.executable, "-W", "ignore", Path(__file__).parent / "greedy_by_vllm.py"],
            input=json.dumps({"models": models, "tokens": NEW_TOKENS}),
            capture_output=True,
            text=True,
            env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        answers: Tokens = json.loads(process.stdout.splitlines()[-1])
        return answers

    return lambda family: tokens(next(group for group in (UNLIKE_LLAMA, SLOW) if family in group))[family]


@pytest.mark.parametrize("family", [*UNLIKE_LLAMA, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_vllm_loads_the_result_and_says_what_transformers_says(
    trained: Trained, by_vllm: Callable[[str], list[list[int]]], family: str
) -> None:
    folder = trained.folder(family, "lora")
    attended = attention_implementation(AutoModelForCausalLM.from_pretrained(folder).config)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attended).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, answer in zip(PROMPTS, by_vllm(family), strict=True):
        given = tokenizer(prompt, return_tensors="pt")
        said = model.generate(**given, do_sample=False, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS)
        assert answer == said[0, given["input_ids"].shape[1] :].tolist()
