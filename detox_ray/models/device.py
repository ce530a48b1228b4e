"""The one device that a process computes on."""

import os
from pathlib import Path
from typing import NamedTuple


class Device(NamedTuple):
    """A device of torch."""

    kind: str  # "cuda" or "cpu": what tensors are moved to
    name: str  # the GPU's product name, or "cpu": what markers and the manifest keep


def device() -> Device:
    """Return the GPU that this process sees first, or the CPU. Imports torch."""
    import torch

    return Device("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else Device("cpu", "cpu")


def machine_has_gpu() -> bool:
    """Return whether this machine shows an NVIDIA device.

    Asks the kernel, because importing torch takes seconds.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(Path("/dev").glob("nvidia[0-9]*"))
