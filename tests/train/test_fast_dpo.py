"""The recipe `fast` takes the same steps as TRL's plain trainer: two workers under DeepSpeed, ragged epochs."""

from pathlib import Path
from typing import Any

import pytest
from alone import alone
from fast_trainings import commit_uneven_pairs, traced, uneven_pairs
from small_training import train_config

from detox_ray.config import TrainConfig
from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import REFERENCE_LOGPS
from detox_ray.train.training_job import TrainingJob

pytestmark = pytest.mark.integration

PAIRS = 45
COMMON = {"batch_size": 3, "gradient_accumulation": 2, "max_steps": 6, "max_length": 120, "evaluate_every": None}
PLAIN = {"batching": "padded", "reference": "live"}
FAST = {"batching": "length-grouped", "batch_tokens": 700, "reference": "cached"}
LORA = {"tuning": "lora", "lora": {"r": 4, "dropout": 0.0}, "sft_weight": 0.7}

# name -> (train block, the folder of its run)
TRAININGS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({**PLAIN}, "one"),
    "fast": ({**FAST, "checkpoint_every": 3}, "one"),
    "plain lora": ({**PLAIN, **LORA}, "one"),
    "fast lora": ({**FAST, "deepspeed": "zero3", **LORA}, "two"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fast")


@pytest.fixture(scope="module")
def traces(folder: Path, parent: LoadableModel) -> dict[str, dict[str, Any]]:
    jobs = []
    for name, (changes, run) in TRAININGS.items():
        store = Store.at(str(folder / run))
        config: TrainConfig = train_config(**{**COMMON, "checkpoint_every": 100, **changes})
        pairs = commit_uneven_pairs(store, PAIRS)
        jobs.append(TrainingJob(name.replace(" ", "-"), "key", config, parent, pairs, 5, store, gpu=False))
    found = alone(traced, jobs, world=2, timeout=1200)
    assert all(isinstance(trace, dict) for trace in found), found
    return dict(zip(TRAININGS, found, strict=True))  # type: ignore[arg-type]


def losses(trace: dict[str, Any]) -> list[float]:
    return [row["loss"] for row in trace["steps"].values()]


def test_the_trainings_are_what_they_are_meant_to_be(traces: dict[str, dict[str, Any]]) -> None:
    for trace in traces.values():
        assert trace["engine"] == "DeepSpeedEngine"
        assert trace["pairs"] % 12  # the epoch's last step is ragged
        assert list(trace["steps"]) == list(range(1, 7))  # one epoch, and part of the next
    assert traces["fast"]["accumulation"] > 1
    assert losses(traces["plain"])[0] == pytest.approx(0.6931472, abs=1e-6)
    assert losses(traces["plain"])[-1] < 0.5


def test_losses_and_gradients_are_those_of_the_plain_trainer(traces: dict[str, dict[str, Any]]) -> None:
    plain, other = traces["plain"], traces["fast"]
    assert losses(other) == pytest.approx(losses(plain), abs=2e-5)
    for row, like in zip(plain["steps"].values(), other["steps"].values(), strict=True):
        assert like["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-3)


def test_adapters_with_the_chosen_completions_likelihood_likewise(traces: dict[str, dict[str, Any]]) -> None:
    plain, fast = traces["plain lora"], traces["fast lora"]
    assert losses(fast) == pytest.approx(losses(plain), abs=2e-5)
    assert losses(fast)[-1] < losses(fast)[0] - 0.1  # it learned
    for row, like in zip(plain["steps"].values(), fast["steps"].values(), strict=True):
        assert like["grad_norm"] == pytest.approx(row["grad_norm"], rel=1e-3)
        for name in ("preference_loss", "nll_loss"):
            assert like[name] == pytest.approx(row[name], abs=2e-5), name
        assert like["loss"] == pytest.approx(like["preference_loss"] + 0.7 * like["nll_loss"], abs=2e-5)


@pytest.mark.parametrize("name", ["fast", "fast lora"])
def test_every_step_sees_the_pairs_that_the_plain_trainer_draws(name: str, traces: dict[str, dict[str, Any]]) -> None:
    assert len(traces["plain"]["rows"]) == 6
    for plain, ours in zip(traces["plain"]["rows"], traces[name]["rows"], strict=True):
        # A worker with nothing left of a ragged step repeats one of its pairs, without weight.
        assert set(ours) == set(plain)
        assert len(ours) >= len(plain)


def test_metrics_are_of_the_whole_step(traces: dict[str, dict[str, Any]]) -> None:
    for name in ("rewards/margins", "rewards/accuracies", "rewards/chosen", "logps/chosen", "logps/rejected"):
        plain = [row[name] for row in traces["plain"]["steps"].values()]
        ours = [row[name] for row in traces["fast"]["steps"].values()]
        assert ours == pytest.approx(plain, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize(("name", "plain"), [("fast", "plain"), ("fast lora", "plain lora")])
def test_evaluations_agree(name: str, plain: str, traces: dict[str, dict[str, Any]]) -> None:
    expected, evaluation = traces[plain]["evaluation"], traces[name]["evaluation"]
    parts = {"eval_preference_loss", "eval_nll_loss"}
    assert parts & evaluation.keys() == (parts if plain == "plain lora" else set())
    for metric in {"eval_loss", "eval_rewards/margins", "eval_rewards/accuracies"} | (parts & evaluation.keys()):
        assert evaluation[metric] == pytest.approx(expected[metric], abs=1e-4), metric


def test_a_resumed_training_takes_the_steps_of_an_undisturbed_one(traces: dict[str, dict[str, Any]]) -> None:
    whole, resumed = traces["fast"], traces["fast"]["resumed"]
    assert resumed["rows"] == whole["rows"][3:]  # in mid-epoch, and over the border of the next
    after = [row["loss"] for step, row in resumed["steps"].items() if step > 3]
    assert after == losses(whole)[3:]


def test_reference_is_computed_once_for_all_trainings_of_the_same_pairs(
    traces: dict[str, dict[str, Any]], folder: Path
) -> None:
    tables = {}
    for run in ("one", "two"):
        store = Store.at(str(folder / run))
        ((unit, key),) = store.committed(REFERENCE_LOGPS).items()  # one: a training and a resumed one share it
        assert unit["model"] == "base"
        tables[run] = {row["pair_id"]: row for row in store.read(unit, key).to_pylist()}
    assert len(tables["one"]) == traces["plain"]["pairs"] + traces["plain"]["evaluated"]
    # Under ZeRO-2, and under ZeRO-3 with the adapter off.
    assert tables["one"].keys() == tables["two"].keys()
    for pair, row in tables["one"].items():
        assert row["chosen"] == pytest.approx(tables["two"][pair]["chosen"], rel=1e-5)
        assert row["rejected"] == pytest.approx(tables["two"][pair]["rejected"], rel=1e-5)


def test_reference_is_the_sum_of_the_parents_log_probabilities(
    traces: dict[str, dict[str, Any]], folder: Path, parent: LoadableModel
) -> None:
    """Against the plain sum over the completion's tokens, one sequence at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store = Store.at(str(folder / "one"))
    ((unit, key),) = store.committed(REFERENCE_LOGPS).items()
    stored = {row["pair_id"]: row for row in store.read(unit, key).to_pylist()}
    path = parent.local_path(store)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    for pair in uneven_pairs(PAIRS).to_pylist()[:6]:
        for side in ("chosen", "rejected"):
            context = tokenizer(pair["prompt"])["input_ids"]
            ids = tokenizer(pair["prompt"] + pair[side])["input_ids"] + [tokenizer.eos_token_id]
            assert ids[: len(context)] == context
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            expected = sum(float(logits[at - 1, ids[at]]) for at in range(len(context), len(ids)))
            assert stored[pair["pair_id"]][side] == pytest.approx(expected, rel=1e-5)


def test_draws_are_those_of_accelerates_loaders(traces: dict[str, dict[str, Any]]) -> None:
    """One to three workers, ragged ends, fewer pairs than a batch, accumulation, two epochs."""
    found = traces["plain"]["draws"]
    assert len(found["ours"]) == 72
    assert found["ours"] == found["theirs"]
