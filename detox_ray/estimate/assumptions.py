"""Assumptions of a plan about machines, and about texts that are not here. The command line can set every field."""

import dataclasses
import os
from dataclasses import dataclass
from typing import NamedTuple

from detox_ray.config import ConfigError, Problem

GIB = 2**30


class DeviceSpec(NamedTuple):
    """A GPU, as its data sheet describes it."""

    memory_gib: float
    tflops_16bit: float  # dense, on tensor cores
    tflops_32bit: float  # float32, without TF32, as PyTorch computes by default


# From the vendor's data sheets, of the SXM variant if there are several. Li et al. 2024 used V100 and RTX A6000.
DEVICES = {
    "v100-32gb": DeviceSpec(32, 125, 15.7),
    "a6000": DeviceSpec(48, 155, 38.7),
    "l4": DeviceSpec(22.5, 121, 30.3),
    "l40s": DeviceSpec(45, 362, 91.6),
    "a100-40gb": DeviceSpec(40, 312, 19.5),
    "a100-80gb": DeviceSpec(80, 312, 19.5),
    "h100": DeviceSpec(80, 989, 67),
    "h200": DeviceSpec(140, 989, 67),
    "cpu": DeviceSpec(0, 0, 0),  # this machine's memory; speed by cores
}
CPU_CORE_TFLOPS = 0.05  # float32, a server's core with AVX2


@dataclass(frozen=True)
class Assumptions:
    """Sizes and speeds that an estimate rests on."""

    device: str = "a100-80gb"
    gpus: int | None = None  # of the cluster; None: as many as the largest training asks for
    gpu_memory: float | None = None  # GiB of one device; None: the device's (cpu: the machine's, shared)
    reserve: float = 2.0  # GiB of each worker for CUDA, NCCL, fragmentation; on a CPU for libraries
    tflops: float | None = None  # peak of one device in the arithmetic that a stage uses; None: the device's
    mfu: float = 0.4  # share of the peak that training and scoring reach
    decode_mfu: float = 0.1  # share that generation reaches with large batches (it waits for memory)
    start_seconds: float = 60.0  # to start workers and load weights, per training and per engine
    bytes_per_token: float = 3.0  # UTF-8, over 17 languages, if no tokenizer is on this machine
    fill: float = 0.5  # share of max_length that a training row fills, if the data is not on this machine
    completions_per_second: float = 2000.0  # that a CPU core identifies and counts (language, diversity)
    node_memory: float | None = None  # GiB of a node, shared by its workers; None: not checked
    price: float | None = None  # of a device-hour, in any currency; None: the cost is not estimated

    @property
    def gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def device_hour(self) -> str:
        """Return the unit of device-hours, in the singular."""
        return "GPU-hour" if self.gpu else "core-hour"

    def memory(self, workers: int) -> float:
        """Return the bytes that one of ``workers`` may hold."""
        if self.gpu_memory is not None:
            return (self.gpu_memory - self.reserve) * GIB
        if self.gpu:
            return (DEVICES[self.device].memory_gib - self.reserve) * GIB
        import psutil

        return float(psutil.virtual_memory().total) / workers - self.reserve * GIB

    def peak(self, bits: int, cores: float = 1) -> float:
        """Return the operations per second of one device, or of ``cores`` cores of a CPU."""
        if self.tflops is not None:
            return self.tflops * 1e12
        if not self.gpu:
            return CPU_CORE_TFLOPS * 1e12 * cores
        device = DEVICES[self.device]
        return (device.tflops_16bit if bits == 16 else device.tflops_32bit) * 1e12

    def as_text(self) -> dict[str, str]:
        """Describe each assumption, for people."""
        memory = f"{self.gpu_memory:g} GiB" if self.gpu_memory is not None else None
        if self.gpu:
            device = DEVICES[self.device]
            memory = memory or f"{device.memory_gib:g} GiB"
            speed = f"{device.tflops_16bit:g} TFLOPS in 16 bits, {device.tflops_32bit:g} in float32"
        else:
            memory, speed = memory or "this machine's memory", f"{CPU_CORE_TFLOPS:g} TFLOPS a core"
        speed = f"{self.tflops:g} TFLOPS" if self.tflops is not None else speed
        price = {}
        if self.price is not None:
            price["price"] = f"{self.price:g} a {self.device_hour}; hours in which a device waits are not counted"
        return {
            "device": f"{self.device}: {memory}, {speed} (data sheet, or as given)",
            "reserve": f"{self.reserve:g} GiB of a worker for CUDA, NCCL and fragmentation; on a CPU for libraries",
            "mfu": f"training and scoring reach {self.mfu:.0%} of the peak, generation {self.decode_mfu:.0%}",
            "start": f"{self.start_seconds:g} s to start and load, per training and per engine",
            "text": f"{self.bytes_per_token:g} bytes of text a token if no tokenizer is on this machine; "
            f"rows fill {self.fill:.0%} of max_length if the data is not on this machine",
            **price,
            "left out": "time on the network and in queues; early stopping: the whole training is counted",
        }


def assumptions_of(**options: object) -> Assumptions:
    """Return the assumptions of the command line; None leaves a default. Raises ConfigError naming option and rule."""
    values = {name: value for name, value in options.items() if value is not None}
    problems = []
    if values.get("device") not in (None, *DEVICES):
        problems.append(Problem("--device", values["device"], f"must be one of {', '.join(DEVICES)}"))
    for field in dataclasses.fields(Assumptions):
        value = values.get(field.name)
        if isinstance(value, int | float) and not value > 0:
            problems.append(Problem(f"--{field.name.replace('_', '-')}", value, "must be above 0"))
    if problems:
        raise ConfigError(problems)
    return Assumptions(**values)  # type: ignore[arg-type]


def cores() -> int:
    return os.cpu_count() or 1
