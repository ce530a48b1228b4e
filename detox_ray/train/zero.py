"""The DeepSpeed configuration of a run: one of the three JSON files beside this one, or the user's own.

A JSON decides how memory is shared out (ZeRO stage, offload, buckets). What decides the result (batch, precision,
clipping, optimizer, schedule) belongs to the train block, so that a setting has one home and the run's key sees it.
"""

import json
from pathlib import Path
from typing import Any

BUILT_IN = ("zero1", "zero2", "zero3")
FOLDER = Path(__file__).parent / "deepspeed"

# DeepSpeed's name -> what in the train block says it.
_ELSEWHERE = {
    "optimizer": "optimizer, learning_rate, weight_decay",
    "scheduler": "scheduler, warmup_steps",
    "bf16": "dtype",
    "fp16": "dtype",
    "gradient_clipping": "max_grad_norm",
    "gradient_accumulation_steps": "gradient_accumulation",
    "train_batch_size": "batch_size, workers",
    "train_micro_batch_size_per_gpu": "batch_size",
}


def read(name: str) -> dict[str, Any]:
    """The JSON object that ``name`` (zero1, zero2, zero3 or a path) stands for, as written.

    Raises ValueError saying what is wrong with it.
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
    if stage not in (1, 2, 3) or isinstance(stage, bool):
        raise ValueError("must be a JSON object whose zero_optimization.stage is 1, 2 or 3")
    for name_there, fields in _ELSEWHERE.items():
        if not _is_auto(content.get(name_there, "auto")):
            raise ValueError(f"must not set {name_there}: the train block does ({fields}); leave it out or 'auto'")
    return content


def complete(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` with what every run needs: the train block's values, and weights gathered when they are saved."""
    filled = {
        **content,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_allow_untested_optimizer": True,  # RMSprop, the papers' choice, is "untested" to DeepSpeed
        "zero_force_ds_cpu_optimizer": False,  # an offloaded optimizer is then torch's too: nothing to compile
    }
    filled.pop("fp16", None)
    if content["zero_optimization"]["stage"] == 3:
        filled["zero_optimization"] = {
            **content["zero_optimization"],
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return filled


def _is_auto(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_auto(inner) for inner in value.values())
    return value == "auto"
