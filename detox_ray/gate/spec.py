"""What `detox-ray gate` asks of a run: YAML to a valid `Spec`, or to every problem at once.

Which metrics there are, and which way is better, the run's results say; `judge` holds the spec against them.
"""

from pathlib import Path

from detox_ray.config import Comparison, GateConfig
from detox_ray.config.loading import read_as


class Spec(GateConfig):
    """Rules, and the pair of models to hold them against."""

    comparison: Comparison | None = None  # null: the run's only one


def read_spec(path: str | Path) -> Spec:
    """Read a spec from YAML. Raises ConfigError with every problem found."""
    return read_as(Spec, path, "SPEC")
