"""Every method and loss: TRL's loss on our ids against a plain computation; whole trainings under DeepSpeed."""

import math
from statistics import mean
from typing import Any

import pyarrow as pa
import pytest
from alone import alone, train_alone
from small_training import commit_pairs, pairs_table, train_config

from detox_ray.config import TrainConfig
from detox_ray.config.recipes import LOSSES
from detox_ray.models import LoadableModel
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import CORPUS, TRAIN
from detox_ray.train.training_job import TrainingJob, TrainWorker

pytestmark = pytest.mark.integration

BETA, SMOOTHING, ALPHA, GAMMA, SFT_WEIGHT = 0.3, 0.2, 0.7, 0.4, 0.6
PAIRS = 6
LOSS_OF = [(method, loss) for method, losses in LOSSES.items() for loss in losses] + [("sft", "text")]


def job(name: str, config: TrainConfig, parent: LoadableModel, rows: tuple[Unit, str], store: Store) -> TrainingJob:
    return TrainingJob(name, "0" * 16, config, parent, rows, 0, store, False)


def settings(method: str, loss: str) -> TrainConfig:
    """One batch of all pairs, and no value at its default."""
    given: dict[str, object] = {"method": method, "loss": loss, "batch_size": PAIRS * (2 if method == "kto" else 1)}
    if method == "sft":
        given |= {"loss": "nll", "loss_on": "text" if loss == "text" else "completion"}
    else:
        given["beta"] = BETA
    if method == "dpo":
        given |= {"reference": "live", "batching": "padded", "sft_weight": SFT_WEIGHT}
    if method == "cpo":
        given["cpo_alpha"] = ALPHA
    if method == "kto":
        given |= {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    if loss == "simpo":
        given["simpo_gamma"] = GAMMA
    if loss in ("exo_pair", "robust", "aot", "aot_unpaired") or (method, loss) in (
        ("cpo", "sigmoid"),
        ("cpo", "simpo"),
    ):
        given["label_smoothing"] = SMOOTHING
    return train_config(workers=1, validation_fraction=0.0, max_length=64, **given)


def first_loss(job: TrainingJob, worker: TrainWorker) -> dict[str, Any]:
    """In a process of its own: the trainer's loss on all rows at once, for a policy that is no longer its parent.

    And of each row, one text after another through plain transformers: (sum of log-probabilities of the completion's
    tokens, their number) under policy and parent.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from detox_ray.train import data_split, tokenization, trl_trainers

    path = job.parent.location
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenization.check(tokenizer, AutoConfig.from_pretrained(path), "base", "models.detox.train", job.config.max_length)
    split = data_split.split(job.store.read(*job.rows), tokenizer, job.config, 1, "models.detox.train")
    trainer = trl_trainers.trainer(job, worker, path, tokenizer, split, [])
    parent, policy = (AutoModelForCausalLM.from_pretrained(path) for _ in range(2))
    with torch.no_grad():
        for model in (trainer.model, policy):
            for parameter in model.parameters():
                parameter.mul_(1.3)
        trainer.model.train()
        batch = trainer.data_collator(list(trainer.train_dataset))
        loss = trainer.compute_loss(trainer.model, batch).item()

    def logp(model: Any, prompt: list[int], completion: list[int]) -> float:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        rows, targets = torch.arange(len(prompt) - 1, len(prompt + completion) - 1), torch.tensor(completion)
        return float(logits[rows, targets].sum())

    found = {}
    for name in ("chosen", "rejected"):
        texts = [(row["prompt_ids"], row[f"{name}_ids"]) for row in split.train if f"{name}_ids" in row]
        if not texts and name == "chosen":  # sft
            for row in split.train:
                start = max(1, sum(label == -100 for label in row["labels"]))
                texts.append((row["input_ids"][:start], row["input_ids"][start:]))
        found[name] = [(logp(policy, *text), logp(parent, *text), len(text[1])) for text in texts]
    chosen = [(row["prompt_ids"], row["chosen_ids"]) for row in split.train if "chosen_ids" in row]
    found["whole"] = [(logp(policy, p[:1], p[1:] + c), 0.0, len(p + c) - 1) for p, c in chosen]
    if job.config.method == "kto":
        rows = list(trainer.train_dataset)
        found["others"] = [tuple(logp(m, row["prompt_ids"], row["KL_completion_ids"]) for m in (policy, parent))
                           for row in rows]  # fmt: skip
        before = [rows[-1], *rows[:-1]]
        assert [row["KL_completion_ids"] for row in rows] == [row["completion_ids"] for row in before]
    if job.config.method == "dpo":
        found["parts"] = [trainer.batch_metrics[name] for name in ("preference_loss", "nll_loss")]
    return {"loss": loss, "named": sorted(trainer.rows_of_step()), **found}


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel
) -> dict[tuple[str, str], dict[str, Any] | str]:
    store = Store.at(str(tmp_path_factory.mktemp("losses")))
    rows = commit_pairs(store, PAIRS)
    jobs = [job(f"{method}-{loss}", settings(method, loss), parent, rows, store) for method, loss in LOSS_OF]
    return dict(zip(LOSS_OF, alone(first_loss, jobs), strict=True))


def logsigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def smoothed(x: float) -> float:
    return -(1 - SMOOTHING) * logsigmoid(x) - SMOOTHING * logsigmoid(-x)


def dpo(loss: str, c: float, r: float, per_c: float, per_r: float) -> float:
    """Compute the loss of one pair.

    c, r are the log-ratios of chosen and rejected to the reference; per_c, per_r are the same per token.
    """
    d, b = BETA * (c - r), BETA
    robust = ((1 - SMOOTHING) * -logsigmoid(d) + SMOOTHING * logsigmoid(-d)) / (1 - 2 * SMOOTHING)
    q = (sigmoid(d), sigmoid(-d))
    return {
        "sigmoid": -logsigmoid(d),
        "hinge": max(0.0, 1 - d),
        "ipo": (per_c - per_r - 1 / (2 * b)) ** 2,
        "exo_pair": sum(p * (math.log(p) - math.log(s)) for p, s in zip(q, (1 - SMOOTHING, SMOOTHING), strict=True)),
        "nca_pair": -logsigmoid(b * c) - 0.5 * logsigmoid(-b * c) - 0.5 * logsigmoid(-b * r),
        "robust": robust,
        "bco_pair": -logsigmoid(b * c) - logsigmoid(-b * r),
        "sppo_hard": (c - 0.5 / b) ** 2 + (r + 0.5 / b) ** 2,
        "apo_zero": 1 - sigmoid(b * c) + sigmoid(b * r),
        "apo_down": sigmoid(b * c) + 1 - sigmoid(d),
        "discopop": -logsigmoid(d) * (1 - sigmoid(d / 0.05)) + math.exp(-d) * sigmoid(d / 0.05),
        "sigmoid_norm": -logsigmoid(b * (per_c - per_r)),
    }[loss]


def cpo(loss: str, c: float, r: float, per_c: float, per_r: float) -> float:
    """Compute the loss of one pair. c, r are the policy's log-probabilities of chosen and rejected."""
    return {
        "sigmoid": smoothed(BETA * (c - r)),
        "hinge": max(0.0, 1 - BETA * (c - r)),
        "ipo": (per_c - per_r - 1 / (2 * BETA)) ** 2,
        "simpo": smoothed(BETA * (per_c - per_r) - GAMMA),
    }[loss]


def expected(method: str, loss: str, found: dict[str, Any]) -> float:
    chosen, rejected = found["chosen"], found["rejected"]
    nll = {
        name: -sum(row[0] for row in found[name]) / sum(row[2] for row in found[name])
        for name in ("chosen", "whole")
        if found[name]
    }
    pairs = list(zip(chosen, rejected, strict=False))
    if method == "sft":
        return nll["chosen"]
    if method == "dpo" and loss.startswith("aot"):
        if loss == "aot":
            ours = sorted(c[0] - r[0] for c, r in pairs), sorted(c[1] - r[1] for c, r in pairs)
        else:
            ours = sorted(c[0] - c[1] for c, _ in pairs), sorted(r[0] - r[1] for _, r in pairs)
        return mean(smoothed(BETA * (one - other)) for one, other in zip(*ours, strict=True))
    if method == "dpo":
        return mean(dpo(loss, c[0] - c[1], r[0] - r[1], (c[0] - c[1]) / c[2], (r[0] - r[1]) / r[2]) for c, r in pairs)
    if method == "cpo":
        return mean(cpo(loss, c[0], r[0], c[0] / c[2], r[0] / r[2]) for c, r in pairs) + ALPHA * nll["chosen"]
    if method == "orpo":
        per_token = [(c[0] / c[2], r[0] / r[2]) for c, r in pairs]
        odds = [c - r - (math.log1p(-math.exp(c)) - math.log1p(-math.exp(r))) for c, r in per_token]
        return nll["whole"] - BETA * mean(logsigmoid(each) for each in odds)
    kl = max(0.0, mean(policy - parent for policy, parent in found["others"])) if loss == "kto" else 0.0
    good = [1.5 * (1 - sigmoid(BETA * (row[0] - row[1] - kl))) for row in chosen]
    bad = [0.5 * (1 - sigmoid(BETA * (kl - (row[0] - row[1])))) for row in rejected]
    return mean(good + bad)


@pytest.mark.parametrize(("method", "loss"), LOSS_OF)
def test_loss_is_the_one_that_the_train_block_names(
    method: str, loss: str, measured: dict[tuple[str, str], dict[str, Any] | str]
) -> None:
    found = measured[method, loss]
    assert isinstance(found, dict), found
    named = expected(method, loss, found)
    if method == "dpo":  # with the chosen completions' likelihood: the mean over all their tokens
        likelihood = -sum(logp for logp, _, _ in found["chosen"]) / sum(tokens for _, _, tokens in found["chosen"])
        assert found["parts"] == [[pytest.approx(named, rel=1e-4)], [pytest.approx(likelihood, rel=1e-4)]]
        named += SFT_WEIGHT * likelihood
    assert found["loss"] == pytest.approx(named, rel=1e-4)
    assert found["named"] == sorted(f"p{i}" for i in range(PAIRS) for _ in range(2 if method == "kto" else 1))


SHORT = {"max_steps": 4, "evaluate_every": None, "checkpoint_every": 100}
PAPER = {"recipe": "paper", "max_prompt_length": 32, "max_length": 100, "max_grad_norm": 1.2}
TRAININGS: dict[str, dict[str, Any]] = {
    "kto": {"method": "kto", "deepspeed": "zero3", "batch_size": 8, "keep": "last"},
    "orpo": {"method": "orpo", "gradient_checkpointing": True},
    "cpo": {"method": "cpo", "loss": "simpo", "tuning": "lora", "deepspeed": "zero3", "lora": {"r": 4}},
    "corpus": {"method": "sft", "train_on": "corpus", "overflow": "chunks", "max_length": 8, "optimizer": "adamw"},
    "sft": {"method": "sft"},
    "sft twice": {"method": "sft", "batch_size": 2, "gradient_accumulation": 2},
    "paper": PAPER,
    "paper twice": {**PAPER, "batch_size": 2, "gradient_accumulation": 2},
    "too long": {"max_length": 129},
    "paper float16": {**PAPER, "autocast": "float16"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel) -> dict[str, dict[str, Any] | str]:
    store = Store.at(str(tmp_path_factory.mktemp("trainings")))
    pairs, corpus = commit_pairs(store, 60), CORPUS.unit()
    texts = [
        {"text_id": row["pair_id"], "text": row["prompt"] + row["chosen"], "source": "file", "split": TRAIN}
        for row in pairs_table(60).to_pylist()
    ]
    store.commit(corpus, "1" * 16, pa.Table.from_pylist(texts, schema=CORPUS.columns))
    jobs = [
        job(
            name,
            train_config(**{**SHORT, **given}),
            parent,
            (corpus, "1" * 16) if name == "corpus" else pairs,
            store,
        )
        for name, given in TRAININGS.items()
    ]
    return dict(zip(TRAININGS, train_alone(jobs, world=2), strict=True))


def info_of(trained: dict[str, dict[str, Any] | str], name: str) -> dict[str, Any]:
    info = trained[name]
    assert isinstance(info, dict), info
    return info


@pytest.mark.parametrize("name", ["kto", "orpo", "cpo", "corpus", "sft", "paper"])
def test_every_method_learns_under_deepspeed(trained: dict[str, dict[str, Any] | str], name: str) -> None:
    info = info_of(trained, name)
    assert (info["engine"], info["world_size"], info["steps"]) == ("DeepSpeedEngine", 2, 4)
    losses = [row["loss"] for row in info["log"]]
    assert all(map(math.isfinite, losses))
    assert info["evaluation"]["loss"] < losses[0]
    if name in ("kto", "orpo", "cpo", "paper"):
        assert info["evaluation"]["reward_margin"] > 0


@pytest.mark.parametrize("name", ["sft", "paper"])
def test_accumulated_batches_make_the_steps_of_whole_ones(trained: dict[str, dict[str, Any] | str], name: str) -> None:
    whole, parts = (info_of(trained, which)["log"] for which in (name, f"{name} twice"))
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)


def test_float16_arithmetic_clips_by_the_gradient_without_its_scale(trained: dict[str, dict[str, Any] | str]) -> None:
    whole, cast = (info_of(trained, which)["log"] for which in ("paper", "paper float16"))
    assert any(row["grad_norm"] > 1.2 for row in whole)  # some steps are clipped
    for one, other in zip(whole, cast, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-2)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-2)
    assert [row["loss"] for row in cast] != [row["loss"] for row in whole]


def test_mistake_is_named_before_training_starts(trained: dict[str, dict[str, Any] | str]) -> None:
    said = "InputError: models.too long.train.max_length: 129 is more than base's limit of 128 positions"
    assert trained["too long"] == said
