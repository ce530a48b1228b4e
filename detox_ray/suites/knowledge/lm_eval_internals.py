"""Private names of lm_eval, as read in lm_eval 0.4.13. `harness.Harness` also overrides `_loglikelihood_tokens`."""

from collections.abc import Sequence
from typing import Any


def filter_responses(task: Any, instances: Sequence[Any]) -> None:
    """Apply the task's filters to the responses of some requests, instead of to all requests of the task."""
    task._instances = list(instances)
    task.apply_filters()
