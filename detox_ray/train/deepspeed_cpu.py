"""DeepSpeed without a GPU: everything that only CPU training needs.

transformers' ``use_cpu`` silently drops the DeepSpeed configuration. Without ``use_cpu``, accelerate finds no backend
on a machine without an accelerator. So accelerate's state is set up here.
"""

import os
from typing import Any

BACKEND = "gloo"


def before_imports() -> None:
    """Let DeepSpeed choose the CPU as its accelerator. Call this before deepspeed is imported."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    # DeepSpeed decorates its Muon optimizer with torch.compile on import, which loads the compiler (3 s).
    os.environ["TORCHDYNAMO_DISABLE"] = "1"


def prepare() -> dict[str, Any]:
    """Make accelerate use DeepSpeed over the gloo group that Ray Train has opened.

    Call this before the training arguments are constructed.

    Returns:
        More keyword arguments for the training arguments.
    """
    from detox_ray.train.accelerate_internals import open_state
    from detox_ray.train.deepspeed_internals import use_plain_gloo

    use_plain_gloo()
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    open_state(BACKEND)
    return {"accelerator_config": {"use_configured_state": True}}
