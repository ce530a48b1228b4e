"""When a training logs, evaluates, saves and stops."""

from typing import Any

import numpy as np
import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from detox_ray.train.evaluation_schedule import EvaluationSchedule as Schedule
from detox_ray.train.evaluation_schedule import best, evaluations, waited


def state(step: int, losses: list[float], max_steps: int = 100) -> TrainerState:
    """Return the state right after the evaluation at ``step``, with an evaluation every 5 steps before."""
    log: list[dict[str, Any]] = []
    for number, loss in enumerate(losses):
        log += [{"step": 5 * number + 5, "loss": 1.0}, {"step": 5 * number + 5, "eval_loss": loss}]
    return TrainerState(global_step=step, max_steps=max_steps, log_history=log)


ARGUMENTS: Any = None  # no callback of ours reads them


def test_best_is_the_first_of_the_lowest_losses() -> None:
    assert best([3.0, 1.0, 2.0, 1.0]) == 1
    assert waited([3.0, 1.0, 2.0, 1.0]) == 2
    assert waited([3.0]) == 0
    assert evaluations(state(10, [3.0, 1.0]).log_history) == [(5, 3.0), (10, 1.0)]


@pytest.mark.parametrize("patience", [1, 2, 3, 7])
def test_patience_stops_where_transformers_own_callback_does(patience: int) -> None:
    draw = np.random.default_rng(patience)
    for _ in range(50):
        losses = draw.integers(0, 6, size=30).astype(float).tolist()
        theirs, best_metric = EarlyStoppingCallback(patience), None
        arguments = TrainingArguments("unused", metric_for_best_model="loss", greater_is_better=False)
        for number, loss in enumerate(losses):
            control, expected = TrainerControl(), TrainerControl()
            of_trainer = TrainerState(best_metric=best_metric)
            theirs.on_evaluate(arguments, of_trainer, expected, {"eval_loss": loss})
            best_metric = loss if best_metric is None else min(best_metric, loss)
            mine = Schedule(True, 5, patience, True)
            mine.on_evaluate(ARGUMENTS, state(5 * number + 5, losses[: number + 1], 10**6), control)
            assert control.should_training_stop == expected.should_training_stop
            if expected.should_training_stop:
                break


def test_each_new_best_is_saved_but_nothing_at_the_end() -> None:
    schedule = Schedule(True, 5, 2, keep_best=True)

    def saves(step: int, losses: list[float], max_steps: int = 100) -> bool:
        control = TrainerControl(should_save=step % 10 == 0)
        schedule.on_evaluate(ARGUMENTS, state(step, losses, max_steps), control)
        return control.should_save

    assert saves(5, [1.0])
    assert saves(15, [1.0, 0.9, 0.8])
    assert not saves(15, [1.0, 0.9, 0.9])
    assert saves(20, [1.0, 0.9, 0.8, 0.9])  # due anyway
    assert not saves(20, [1.0, 0.7, 0.8, 0.9])  # stops early
    assert not saves(20, [1.0, 0.9, 0.8, 0.7], max_steps=20)
    last = Schedule(True, 5, None, keep_best=False)
    control = TrainerControl()
    last.on_evaluate(ARGUMENTS, state(5, [1.0]), control)
    assert not control.should_save and not control.should_training_stop


def after_step(schedule: Schedule, step: int, max_steps: int, saving: bool = False) -> TrainerControl:
    control = TrainerControl(should_save=saving)
    schedule.on_step_end(ARGUMENTS, TrainerState(global_step=step, max_steps=max_steps), control)
    return control


def test_evaluated_is_in_its_interval_and_at_the_last_step_and_never_without_rows() -> None:
    due = [step for step in range(1, 13) if after_step(Schedule(True, 5, None, True), step, 12).should_evaluate]
    assert due == [5, 10, 12]
    assert [s for s in range(1, 13) if after_step(Schedule(True, None, None, False), s, 12).should_evaluate] == [12]
    assert not any(after_step(Schedule(False, 5, None, False), step, 12).should_evaluate for step in range(1, 13))


def test_means_are_logged_before_an_evaluation_or_a_checkpoint_and_the_last_step_is_not_saved() -> None:
    schedule = Schedule(True, 5, None, True)
    assert after_step(schedule, 5, 12).should_log
    saved = after_step(schedule, 3, 12, saving=True)
    assert saved.should_log and saved.should_save
    assert not after_step(schedule, 3, 12).should_log
    assert not after_step(schedule, 12, 12, saving=True).should_save


def test_lost_validation_loss_names_its_step() -> None:
    with pytest.raises(FloatingPointError, match="validation loss became nan at step 10"):
        Schedule(True, 5, None, True).on_evaluate(ARGUMENTS, state(10, [1.0, float("nan")]), TrainerControl())
