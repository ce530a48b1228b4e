"""DPO with the chosen completions' likelihood against TRL's own trainer, given a list of losses and their weights."""

from itertools import islice
from typing import Any

import pytest
from alone import alone
from fast_trainings import commit_uneven_pairs
from small_training import train_config

from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.train.training_job import TrainingJob, TrainWorker

pytestmark = pytest.mark.integration

BATCH, BATCHES, BETA, WEIGHT = 3, 2, 0.3, 0.7
COMMON = {"batch_size": BATCH, "gradient_accumulation": BATCHES, "beta": BETA, "sft_weight": WEIGHT, "workers": 1}
TRAININGS: dict[str, dict[str, Any]] = {
    "paper": {"recipe": "paper", "max_prompt_length": 32},
    "fast": {"batch_tokens": 256},
    "cached, in TRL's batches": {"batching": "padded"},
    "length-grouped, with another loss": {"batch_tokens": 256, "loss": "sppo_hard", "reference": "live"},
}


def first_step(job: TrainingJob, worker: TrainWorker) -> dict[str, Any]:
    """Compute loss and gradients of the first step by our trainer and by TRL's, for a policy that is not its parent."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from detox_ray.train import data_split, trl_trainers
    from detox_ray.train.trl_internals import PretokenizedTrainer

    class Theirs(PretokenizedTrainer, DPOTrainer):
        """TRL's trainer and nothing else, on rows that are tokenised already."""

    def step(trainer: Any) -> tuple[float, dict[str, torch.Tensor]]:
        passes = trainer.args.gradient_accumulation_steps
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.mul_(1.3)
        trainer.model.train()
        total = 0.0
        for batch in islice(trainer.get_train_dataloader(), passes):
            loss = trainer.compute_loss(trainer.model, batch) / passes
            loss.backward()
            total += loss.item()
        return total, {name: parameter.grad for name, parameter in trainer.model.named_parameters()}

    path = job.parent.location
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    split = data_split.split(job.store.read(*job.rows), tokenizer, job.config, 1, "models.detox.train")
    ours = trl_trainers.trainer(job, worker, path, tokenizer, split, [])
    loss, gradients = step(ours)
    theirs = Theirs(
        model=AutoModelForCausalLM.from_pretrained(path),
        ref_model=AutoModelForCausalLM.from_pretrained(path),
        args=DPOConfig(
            output_dir=str(job.scratch),
            loss_type=[job.config.loss, "sft"],
            loss_weights=[1.0, WEIGHT],
            beta=BETA,
            max_length=None,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=BATCHES,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            seed=job.seed,
            data_seed=job.seed,
            report_to="none",
        ),
        train_dataset=Dataset.from_list(split.train),
        processing_class=tokenizer,
    )
    their_loss, their_gradients = step(theirs)
    assert gradients.keys() == their_gradients.keys()
    return {
        "passes": ours.args.gradient_accumulation_steps,
        "losses": (loss, their_loss),
        "difference": max(float((gradients[n] - their_gradients[n]).norm()) for n in gradients),
        "norm": max(float(gradient.norm()) for gradient in their_gradients.values()),
    }


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, parent: LoadableModel) -> dict[str, dict[str, Any] | str]:
    store = Store.at(str(tmp_path_factory.mktemp("sft-term")))
    pairs = commit_uneven_pairs(store, 12)
    jobs = [
        TrainingJob(
            f"detox-{number}",
            "key",
            train_config(**{**COMMON, "max_length": 120, **changes}),
            parent,
            pairs,
            5,
            store,
            gpu=False,
        )
        for number, changes in enumerate(TRAININGS.values())
    ]
    return dict(zip(TRAININGS, alone(first_step, jobs), strict=True))


@pytest.mark.parametrize("name", TRAININGS)
def test_first_steps_loss_and_gradients_are_those_of_trls_combined_loss(
    name: str, steps: dict[str, dict[str, Any] | str]
) -> None:
    step = steps[name]
    assert isinstance(step, dict), step
    assert (step["passes"] == BATCHES) == ("batch_tokens" not in TRAININGS[name])  # groups that are not TRL's batches
    ours, theirs = step["losses"]
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert step["difference"] < 1e-5 * step["norm"]
