"""Private names of lm_eval, as read in lm_eval 0.4.13; `harness.Harness` overrides `_loglikelihood_tokens`, too."""

from collections.abc import Sequence
from typing import Any


def filter_responses(task: Any, instances: Sequence[Any]) -> None:
    """Pass the responses of some requests through the task's filters; its own list of requests would be all of them."""
    task._instances = list(instances)
    task.apply_filters()
