"""DeepSpeed without a GPU. Everything that only CPU training needs is here; on GPU nothing of it runs.

With transformers' own ``use_cpu`` the DeepSpeed configuration would be dropped in silence, and without it accelerate
finds no backend on a machine without accelerator, so accelerate's state is set up here by hand.
"""

import os
from typing import Any

BACKEND = "gloo"


def before_imports() -> None:
    """To be called before deepspeed is imported: it chooses its accelerator then."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    # DeepSpeed decorates its Muon optimizer with torch.compile on import, which loads the compiler: 3 s, for nothing.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"


def prepare() -> dict[str, Any]:
    """Make accelerate use DeepSpeed over the gloo group that Ray Train has opened.

    To be called before the training arguments are made. Returns further keyword arguments for them.
    """
    from detox_ray.train.accelerate_internals import open_state
    from detox_ray.train.deepspeed_internals import use_plain_gloo

    use_plain_gloo()
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    open_state(BACKEND)
    return {"accelerator_config": {"use_configured_state": True}}
