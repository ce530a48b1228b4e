"""The rules of `detox-ray gate`, read from YAML into a valid `Spec`, or all problems at once.

The run's results define the metrics and their directions; `judge` compares the spec with them.
"""

from pathlib import Path

from detox_ray.config import Comparison, ConfigError, GateConfig, Problem
from detox_ray.config.loading import read_as


class Spec(GateConfig):
    """Rules, and the pair of models to judge by them."""

    comparison: Comparison | None = None  # null: the run's only pair


def read_spec(path: str | Path) -> Spec:
    """Read a spec from YAML. Raise ConfigError with all problems."""
    try:
        return read_as(Spec, path, "SPEC")
    except ConfigError as error:
        if "models" not in {problem.field for problem in error.problems}:
            raise
    rule = (
        "is an experiment, not a gate's rules: leave --spec out to apply the rules of the run's experiment, or give a "
        "file such as configs/gate.yaml"
    )
    raise ConfigError([Problem("--spec", str(path), rule)])
