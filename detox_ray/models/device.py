"""The one device that a process computes on."""

import os
from pathlib import Path
from typing import NamedTuple


class Device(NamedTuple):
    """A device of torch."""

    kind: str  # "cuda" or "cpu", to move tensors to
    name: str  # the GPU's product name, or "cpu", for markers and the manifest


def device() -> Device:
    """Return the first GPU that this process sees, or the CPU. Imports torch."""
    import torch

    return Device("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else Device("cpu", "cpu")


def machine_has_gpu() -> bool:
    """Return whether this machine has an NVIDIA device that CUDA_VISIBLE_DEVICES does not hide.

    Looks into /dev, because importing torch takes seconds.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))
