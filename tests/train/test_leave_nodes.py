"""Workers ask now and then whether a node of theirs leaves, save a checkpoint, and stop."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray.train
import torch.distributed
from transformers import TrainerControl

from detox_ray.cluster.ray_internals import NodeLeavesError
from detox_ray.train import callbacks
from detox_ray.train.callbacks import ASK_S, LeaveNodes

LAST = 1000


class Steps:
    """A training whose steps take a given time, and that asks Ray Train in some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float):
        self.seconds, self.now = seconds, 0.0
        self.asked: list[int] = []  # steps
        self.leaves_from = float("inf")  # the step
        self.events: list[str] = []
        self.step = 0
        monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(ray.train, "get_preemption_info", self._ask)
        monkeypatch.setattr(torch.distributed, "barrier", lambda: self.events.append("barrier"))
        peers: Any = SimpleNamespace(broadcast=lambda value: value)
        report: Any = SimpleNamespace(wait_for_upload=lambda: self.events.append("uploaded"))
        self.callback = LeaveNodes(report, peers)

    def _ask(self) -> object:
        self.asked.append(self.step)
        return object() if self.step >= self.leaves_from else None

    def take(self, step: int) -> TrainerControl:
        """Take a step, and save if the callback wants it."""
        self.step, self.now = step, self.now + self.seconds
        control, state = TrainerControl(), cast(Any, SimpleNamespace(global_step=step, max_steps=LAST))
        nothing: Any = None
        self.callback.on_step_end(nothing, state, control)
        if control.should_save or step % 10 == 0:
            self.callback.on_save(nothing, state, control)
        return control


def test_the_question_is_asked_about_as_often_whatever_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Steps(monkeypatch, 5.0), []
    for step in range(1, 20):
        slow.take(step)
    assert slow.asked == list(range(1, 20))
    steps = Steps(monkeypatch, 0.125)
    for step in range(1, 200):
        steps.take(step)
        fast.append(step)
    gaps = [(after - before) * 0.125 for before, after in zip(steps.asked[1:], steps.asked[2:], strict=False)]
    assert gaps and set(gaps) == {ASK_S}


def test_a_checkpoint_is_saved_and_uploaded_before_the_workers_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 5.0)
    for step in range(1, 15):
        assert not steps.take(step).should_save
    steps.leaves_from = 15
    with pytest.raises(NodeLeavesError):
        steps.take(15)
    assert steps.events == ["uploaded", "barrier"]


def test_the_last_step_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch, 5.0)
    steps.leaves_from = LAST
    assert not steps.take(LAST).should_save
    assert steps.asked == []
