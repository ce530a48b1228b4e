"""The client stands alone: a program that only talks to a service loads nothing of the benchmark."""

import subprocess
import sys

HEAVY = {"fastapi", "numpy", "pyarrow", "ray", "starlette", "torch", "transformers", "vllm"}


def test_client_loads_neither_another_room_nor_a_heavy_library() -> None:
    program = "import sys; from detox_ray.client import Client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    own = {name.split(".")[1] for name in loaded if name.startswith("detox_ray.")}
    assert own == {"client"}
    assert not HEAVY & {name.partition(".")[0] for name in loaded}
