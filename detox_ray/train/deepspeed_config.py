"""The DeepSpeed configuration of a training: one of the four JSON files in deepspeed/, or the user's own.

A JSON file decides how memory is divided (ZeRO stage, offload, buckets). Settings that affect the result (batch,
precision, clipping, optimizer, schedule) belong to the train block, so that each has one place and is part of the key.
Settings in a user's own JSON that DeepSpeed documents as affecting only memory or communication are not part of the
key; all others are.
"""

import ctypes.util
import importlib.util
import json
from pathlib import Path
from typing import Any

from detox_ray.config import InputError, Problem, TrainConfig

BUILT_IN = ("zero0", "zero1", "zero2", "zero3")
FOLDER = Path(__file__).parent / "deepspeed"
STAGES = (0, 1, 2, 3)

# DeepSpeed's name -> the fields of the train block that replace it.
_ELSEWHERE = {
    "optimizer": "optimizer, learning_rate, weight_decay",
    "scheduler": "scheduler, warmup_steps",
    "bf16": "dtype",
    "fp16": "dtype",
    "torch_autocast": "autocast",
    "gradient_clipping": "max_grad_norm",
    "gradient_accumulation_steps": "gradient_accumulation",
    "train_batch_size": "batch_size, workers",
    "train_micro_batch_size_per_gpu": "batch_size",
}

# Settings that change at most the order in which floats are summed.
_MEMORY_ONLY = _ELSEWHERE.keys() | {
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "activation_checkpointing",
    "aio",
    "steps_per_print",
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
    "comms_logger",
    "flops_profiler",
}
_ZERO_MEMORY_ONLY = {
    "stage",
    "contiguous_gradients",
    "reduce_scatter",
    "reduce_bucket_size",
    "use_multi_rank_bucket_allreduce",
    "allgather_partitions",
    "allgather_bucket_size",
    "overlap_comm",
    "offload_param",
    "offload_optimizer",
    "sub_group_size",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
    "stage3_model_persistence_threshold",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
    "stage3_gather_16bit_weights_on_model_save",
    "stage3_module_granularity_threshold",
    "round_robin_gradients",
    "stage3_use_all_reduce_for_fetch_params",
    "stage3_allgather_sequential",
    "memory_efficient_linear",
}


def read(name: str) -> dict[str, Any]:
    """Return the JSON object that ``name`` (zero0 … zero3 or a path) refers to, unchanged.

    Raises:
        ValueError: If it is not such an object, or has settings that belong to the train block.
    """
    path = FOLDER / f"{name}.json" if name in BUILT_IN else Path(name).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"must be {', '.join(BUILT_IN)} or the path of a DeepSpeed JSON file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"is not a readable JSON file: {error}") from None
    zero = content.get("zero_optimization") if isinstance(content, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    if stage not in STAGES or isinstance(stage, bool):
        raise ValueError("must be a JSON object whose zero_optimization.stage is 0, 1, 2 or 3")
    for name_there, fields in _ELSEWHERE.items():
        if not _is_auto(content.get(name_there, "auto")):
            raise ValueError(f"must not set {name_there}: the train block does ({fields}); leave it out or 'auto'")
    return content


def problems(field: str, config: TrainConfig) -> list[Problem]:
    """Return the problems of ``deepspeed``, ``offload`` and ``nvme_path`` of the train block ``field``."""
    try:
        content = read(config.deepspeed)
    except ValueError as error:
        return [Problem(f"{field}.deepspeed", config.deepspeed, str(error))]
    zero = content["zero_optimization"]
    problems_found: list[Problem] = []
    needs_adam = {
        "zero_optimization.zenflow": zero.get("zenflow"),
        "zero_optimization.offload_optimizer.super_offload": _part(zero, "optimizer").get("super_offload"),
        "zero_force_ds_cpu_optimizer": content.get("zero_force_ds_cpu_optimizer"),
    }
    for name in (name for name, setting in needs_adam.items() if setting):
        rule = f"must not set {name}: that offload works with DeepSpeed's own Adam only, not with {config.optimizer}"
        problems_found.append(Problem(f"{field}.deepspeed", config.deepspeed, f"{rule} (PyTorch's)"))
    if config.offload is not None:
        problems_found += _offload_problems(field, config, zero)
    own_nvme = any(_part(zero, of).get("device") == "nvme" for of in ("optimizer", "param"))
    if own_nvme and (missing := missing_for_nvme()):
        problems_found.append(Problem(f"{field}.deepspeed", config.deepspeed, f"offloads to NVMe, but {missing}"))
    return problems_found


def _offload_problems(field: str, config: TrainConfig, zero: dict[str, Any]) -> list[Problem]:
    problems_found: list[Problem] = []
    stage = zero["stage"]
    needed = 3 if config.offload == "parameters" or config.nvme_path else 1
    if stage < needed:
        what = f"{config.offload} to NVMe" if config.nvme_path else str(config.offload)
        rule = f"offloading {what} needs ZeRO stage {needed}{' or more' * (needed < 3)}, deepspeed says {stage}"
        problems_found.append(Problem(f"{field}.offload", config.offload, rule))
    if "offload_optimizer" in zero or "offload_param" in zero:
        rule = "the DeepSpeed JSON has its own offload_optimizer or offload_param: set offloading in one place"
        problems_found.append(Problem(f"{field}.offload", config.offload, rule))
    if config.nvme_path is not None:
        if not Path(config.nvme_path).is_absolute():
            rule = "must be an absolute path: every worker, on every node, opens it"
            problems_found.append(Problem(f"{field}.nvme_path", config.nvme_path, rule))
        if missing := missing_for_nvme():
            problems_found.append(Problem(f"{field}.nvme_path", config.nvme_path, f"cannot be used here: {missing}"))
    return problems_found


def missing_for_nvme() -> str | None:
    """Return why DeepSpeed's asynchronous file access cannot work on this machine; None if it can.

    This function is light: it does not import DeepSpeed.
    """
    package = importlib.util.find_spec("deepspeed")
    for folder in (package.submodule_search_locations or []) if package else []:
        if any(Path(folder, "ops", "aio").glob("async_io_op*.so")):  # built with the package (DS_BUILD_AIO=1)
            return None
    if ctypes.util.find_library("aio") is None:
        return "DeepSpeed's async_io operator needs the library libaio with its headers, which is not installed"
    return None


def config_for(config: TrainConfig, gpu: bool) -> dict[str, Any]:
    """Return the complete configuration for DeepSpeed. Raises InputError if this worker's node cannot follow it."""
    content = read(config.deepspeed)
    if config.nvme_path is not None and (missing := missing_for_nvme()):
        raise InputError(f"nvme_path: {config.nvme_path} cannot be used on this worker's node: {missing}")
    zero = dict(content["zero_optimization"])
    if config.offload is not None:
        target = {"device": "nvme", "nvme_path": config.nvme_path} if config.nvme_path else {"device": "cpu"}
        zero["offload_optimizer"] = {**target, "pin_memory": gpu}
        if config.offload == "parameters":
            zero["offload_param"] = {**target, "pin_memory": gpu}
    return complete({**content, "zero_optimization": zero})


def complete(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` with the settings of every training: the train block's values, and gathering for saving."""
    filled = {
        **content,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_allow_untested_optimizer": True,  # DeepSpeed calls RMSprop, the papers' choice, "untested"
        "zero_force_ds_cpu_optimizer": False,  # uses torch's optimizer even if it is offloaded, so nothing is compiled
    }
    filled.pop("fp16", None)
    if content["zero_optimization"]["stage"] == 3:
        filled["zero_optimization"] = {
            **content["zero_optimization"],
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return filled


def influence(content: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a JSON that can change the weights by more than rounding; empty for the built-in files."""
    zero = {name: value for name, value in content["zero_optimization"].items() if name not in _ZERO_MEMORY_ONLY}
    rest = {name: value for name, value in content.items() if name not in _MEMORY_ONLY | {"zero_optimization"}}
    return {**rest, **({"zero_optimization": zero} if zero else {})}


def _part(zero: dict[str, Any], of: str) -> dict[str, Any]:
    """Return ``offload_optimizer`` or ``offload_param``; empty if the JSON does not have it."""
    value = zero.get(f"offload_{of}")
    return value if isinstance(value, dict) else {}


def _is_auto(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_auto(inner) for inner in value.values())
    return value == "auto"
