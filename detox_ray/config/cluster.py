"""The ``cluster`` block: the machines that a run asks for, whatever is there when it begins."""

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, Problem, Strict


class ClusterConfig(Strict):
    """The block ``cluster``: machines that a run asks of the Ray cluster it joins. None of it changes a result."""

    gpus: int | None = Field(None, ge=0)  # that it uses, and waits for; 0: none; null: those that are there
    gpus_per_node: int | None = Field(None, ge=1)  # no engine's tensor_parallel may exceed it; null: not checked
    wait_s: float = Field(1800, gt=0)  # seconds to wait for machines while nothing can run

    @model_validator(mode="after")
    def _whole_nodes(self) -> "ClusterConfig":
        if self.gpus is not None and self.gpus_per_node is not None and 0 < self.gpus < self.gpus_per_node:
            rule = f"must not exceed cluster.gpus ({self.gpus})"
            raise ConfigError([Problem("gpus_per_node", self.gpus_per_node, rule)])
        return self
