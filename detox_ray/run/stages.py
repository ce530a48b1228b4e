"""The registry of stages, and the order in which they run."""

from collections.abc import Hashable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TypeVar

from detox_ray.cluster.stage import Stage
from detox_ray.explain.stage import ExplainStage
from detox_ray.generate.stage import GenerateStage
from detox_ray.measure.stage import MeasureStage
from detox_ray.report.stage import ReportStage
from detox_ray.score import STAGES as SCORE_STAGES
from detox_ray.storage import Table
from detox_ray.suites import STAGES as SUITE_STAGES
from detox_ray.train.stage import TrainStage

T = TypeVar("T", bound=Hashable)

# To add a stage, add an entry here. `measure` and `report` read the tables of all stages.
STAGES: list[type[Stage]] = [TrainStage, GenerateStage, *SCORE_STAGES, ExplainStage, *SUITE_STAGES]


def registered() -> list[Stage]:
    """Return the stages in the order in which they run: each after those that write the tables that it needs.

    Stages of one command run together, so they are adjacent. Raises graphlib.CycleError if no such order exists.
    """
    stages = [stage() for stage in STAGES]
    rows: list[Table] = [table for stage in stages for table in stage.writes if table.schema is not None]
    stages += [MeasureStage(rows), ReportStage()]
    # Use lists, because the order of sets differs between processes.
    before: dict[Stage, list[Stage]] = {
        stage: [other for other in stages if any(table in stage.needs for table in other.writes)] for stage in stages
    }
    commands_before: dict[str, list[str]] = {
        command: [other.command for stage in members for other in before[stage] if other.command != command]
        for command, members in commands(stages).items()
    }
    order, command_order = _in_order(before), _in_order(commands_before)
    return sorted(stages, key=lambda stage: (command_order.index(stage.command), order.index(stage)))


def _in_order(before: Mapping[T, Sequence[T]]) -> list[T]:
    """Sort topologically. If several nodes could come next, the first one in ``before`` does."""
    sorter = TopologicalSorter(before)
    sorter.prepare()
    places = {node: place for place, node in enumerate(before)}
    order: list[T] = []
    ready: list[T] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=places.__getitem__)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def commands(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """Return name of a command -> the stages that it runs, both in the order of ``stages``."""
    members: dict[str, list[Stage]] = {}
    for stage in stages:
        members.setdefault(stage.command, []).append(stage)
    return members
