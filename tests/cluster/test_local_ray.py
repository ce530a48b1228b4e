"""A Ray that is started for one command has the processes that the command uses, and no others."""

import psutil
import pytest

from detox_ray.cluster import Cluster


@pytest.mark.integration
def test_a_ray_of_our_own_starts_only_what_is_used(ray_cluster: Cluster) -> None:
    commands = "\n".join(" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True))
    assert "gcs_server" in commands and "raylet" in commands
    assert "dashboard/dashboard.py" not in commands and "monitor.py" not in commands  # nor the monitor of logs
