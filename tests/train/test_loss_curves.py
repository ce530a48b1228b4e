"""The marker holds a training's curves under our own names."""

import pytest
from small_training import train_config

from detox_ray.train import loss_curves

LOG = [
    {"step": 1, "epoch": 0.1, "loss": 0.7, "grad_norm": 2.0, "learning_rate": 1e-3, "rewards/chosen": 0.02,
     "rewards/rejected": -0.03, "rewards/margins": 0.05, "rewards/accuracies": 0.75, "logps/chosen": -20.0},
    {"step": 5, "epoch": 0.5, "eval_loss": 0.6, "eval_rewards/chosen": 0.2, "eval_rewards/rejected": -0.1,
     "eval_rewards/margins": 0.3, "eval_rewards/accuracies": 1.0, "eval_runtime": 3.0, loss_curves.KL: 0.01},
    {"step": 8, "epoch": 0.8, "loss": 0.5, "rewards/margins": float("nan")},
    {"step": 8, "epoch": 0.8, "eval_loss": 0.65},
    {"step": 8, "train_runtime": 10.0, "train_loss": 0.6},
]  # fmt: skip


def test_rows_hold_losses_rewards_and_log_ratios_and_no_nan() -> None:
    first, second = loss_curves.training(LOG, train_config(beta=0.1))
    assert first == {
        "step": 1,
        "epoch": 0.1,
        "loss": 0.7,
        "grad_norm": 2.0,
        "learning_rate": 1e-3,
        "reward_margin": 0.05,
        "reward_accuracy": 0.75,
        "chosen_log_ratio": pytest.approx(0.2),  # reward / beta
        "rejected_log_ratio": pytest.approx(-0.3),
    }
    assert second == {"step": 8, "epoch": 0.8, "loss": 0.5}


def test_validation_rows_hold_the_divergence() -> None:
    first, second = loss_curves.validation(LOG, train_config(beta=0.1))
    assert first["kl_to_parent"] == 0.01 and first["loss"] == 0.6 and first["epoch"] == 0.5
    assert first["chosen_log_ratio"] == pytest.approx(2.0)
    assert "runtime" not in first
    assert second == {"step": 8, "epoch": 0.8, "loss": 0.65}


def test_rewards_without_a_reference_are_no_log_ratios() -> None:
    row = loss_curves.named({"loss": 1.0, "rewards/chosen": -2.0, "log_odds_ratio": -0.5}, train_config(method="orpo"))
    assert row == {"loss": 1.0, "log_odds_ratio": -0.5}


def test_ktos_own_estimate_is_kept_apart_from_the_measured_divergence() -> None:
    row = loss_curves.named({"eval_loss": 1.0, "eval_kl": 0.4, loss_curves.KL: 0.02}, train_config(method="kto"))
    assert row == {"loss": 1.0, "kl_estimate": 0.4, "kl_to_parent": 0.02}


def test_parts_of_a_loss_with_the_chosen_completions_likelihood_stand_beside_their_sum() -> None:
    row = loss_curves.named({"loss": 2.5, "preference_loss": 0.5, "nll_loss": 4.0}, train_config(sft_weight=0.5))
    assert row == {"loss": 2.5, "preference_loss": 0.5, "likelihood_loss": 4.0}


def test_ending_says_which_step_is_kept() -> None:
    best = train_config(keep="best")
    assert loss_curves.ending(LOG, 8, 12, best) == {
        "stopped": "early",
        "planned_steps": 12,
        "best_step": 5,
        "kept_step": 5,
    }
    last = train_config(keep="last")
    assert loss_curves.ending(LOG, 8, 8, last)["kept_step"] == 8
    assert loss_curves.ending(LOG, 8, 8, last)["stopped"] == "planned"
    unvalidated = loss_curves.ending(LOG[:1], 8, 8, train_config(validation_fraction=0))
    assert (unvalidated["best_step"], unvalidated["kept_step"]) == (None, 8)
