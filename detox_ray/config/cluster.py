"""The ``cluster`` block: the machines that a run asks for, even if they are not there yet when it starts."""

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, Problem, Strict


class ClusterConfig(Strict):
    """Machines that a run asks for from the Ray cluster that it joins. No field of this block changes a result."""

    gpus: int | None = Field(None, ge=0)  # GPUs that the run uses and waits for; 0: CPUs only; null: all GPUs present
    gpus_per_node: int | None = Field(None, ge=1)  # upper limit for tensor_parallel; null: not checked
    wait_s: float = Field(1800, gt=0)  # seconds to wait for machines while nothing can run

    @model_validator(mode="after")
    def _whole_nodes(self) -> "ClusterConfig":
        if self.gpus is not None and self.gpus_per_node is not None and 0 < self.gpus < self.gpus_per_node:
            rule = f"must not exceed cluster.gpus ({self.gpus})"
            raise ConfigError([Problem("gpus_per_node", self.gpus_per_node, rule)])
        return self
