"""A loss or gradient that is no number stops the step it belongs to, and its rows are named."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from detox_ray.train.nonfinite_check import SHOWN, stop_at_nonfinite


class FakeTrainer:
    """Rank 0 of two; the other rank's loss is ``other``, of rows q0 and q1."""

    def __init__(self, loss: float, rows: int = 2, norm: float | None = 1.0):
        self.loss, self.rows = torch.tensor(loss), [f"p{number}" for number in range(rows)]
        self.state = TrainerState(global_step=6)
        self.model_wrapped = SimpleNamespace(get_global_grad_norm=lambda: norm)
        self.callbacks: list[TrainerCallback] = []

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
        return (self.loss, "outputs") if return_outputs else self.loss

    def rows_of_step(self) -> list[str]:
        return self.rows

    def add_callback(self, callback: TrainerCallback) -> None:
        self.callbacks.append(callback)


TRAINING, EVALUATING = SimpleNamespace(training=True), SimpleNamespace(training=False)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the other rank's loss, for the test to change."""
    losses = [0.5]

    def all_reduce(tensor: torch.Tensor, op: Any) -> None:
        tensor.mul_(float(torch.isfinite(torch.tensor(losses[0]))))

    def all_gather_object(told: list[Any], mine: Any) -> None:
        told[:] = [mine, (losses[0], ["q0", "q1"])]

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    return losses


def test_finite_losses_pass_as_they_are(other: list[float]) -> None:
    trainer = FakeTrainer(0.7)
    stop_at_nonfinite(trainer, gradients=True)
    assert trainer.compute_loss(TRAINING, {}) is trainer.loss
    assert trainer.compute_loss(TRAINING, {}, return_outputs=True) == (trainer.loss, "outputs")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_lost_loss_names_the_step_and_only_the_rows_that_it_came_from(other: list[float], value: float) -> None:
    trainer = FakeTrainer(value)
    stop_at_nonfinite(trainer, gradients=True)
    with pytest.raises(FloatingPointError, match=rf"^the loss became {value} at step 7 \(rows: p0, p1\): lower"):
        trainer.compute_loss(TRAINING, {})
    assert trainer.compute_loss(EVALUATING, {}) is trainer.loss  # evaluations are judged whole


def test_every_rank_stops_where_one_has_lost_its_loss(other: list[float]) -> None:
    trainer = FakeTrainer(0.7)
    stop_at_nonfinite(trainer, gradients=True)
    other[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"the loss became nan at step 7 \(rows: q0, q1\)"):
        trainer.compute_loss(TRAINING, {}, return_outputs=True)


def test_many_rows_are_cut(other: list[float]) -> None:
    trainer = FakeTrainer(float("nan"), rows=SHOWN + 5)
    stop_at_nonfinite(trainer, gradients=True)
    with pytest.raises(FloatingPointError, match=rf"p{SHOWN - 1} and 5 more\)"):
        trainer.compute_loss(TRAINING, {})


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_lost_gradient_stops_after_its_step_with_all_ranks_rows(other: list[float], norm: float) -> None:
    trainer = FakeTrainer(0.7, norm=norm)
    stop_at_nonfinite(trainer, gradients=True)
    (callback,) = trainer.callbacks
    other[0] = norm
    arguments: Any = None
    with pytest.raises(FloatingPointError, match=rf"the gradient became {norm} at step 6 \(rows: p0, p1, q0, q1\)"):
        callback.on_step_end(arguments, trainer.state, TrainerControl())


def test_norms_are_left_alone_where_infinite_ones_belong_to_the_method_or_there_are_none(other: list[float]) -> None:
    trainer = FakeTrainer(0.7, norm=float("inf"))
    stop_at_nonfinite(trainer, gradients=False)
    assert trainer.callbacks == []
    unknown = FakeTrainer(0.7, norm=None)
    stop_at_nonfinite(unknown, gradients=True)
    arguments: Any = None
    unknown.callbacks[0].on_step_end(arguments, unknown.state, TrainerControl())
